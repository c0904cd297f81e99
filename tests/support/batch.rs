//! Record batches as strangers send them: sound ones with a few bytes changed.

/// Where the fields lie that tests change; see docs/log-format.md.
pub(crate) mod at {
    pub(crate) const BASE_OFFSET: usize = 0;
    pub(crate) const LENGTH: usize = 8;
    pub(crate) const MAGIC: usize = 16;
    pub(crate) const CRC: usize = 17;
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const LAST_OFFSET_DELTA: usize = 23;
    pub(crate) const RECORD_COUNT: usize = 57;
    pub(crate) const RECORDS: usize = 61;
}

/// Sets the length and the CRC to what the bytes say: what is wrong now is not the transport's
/// fault.
pub(crate) fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    let length = i32::try_from(batch.len() - at::LENGTH - 4).expect("a batch is small");
    batch[at::LENGTH..][..4].copy_from_slice(&length.to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&batch[at::ATTRIBUTES..]);
    batch[at::CRC..][..4].copy_from_slice(&crc.to_be_bytes());
    batch
}
