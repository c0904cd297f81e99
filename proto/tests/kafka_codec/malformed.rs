//! Bytes that are no message: cut short, changed, made up.

use bytes::Bytes;
use log_proto::kafka::RequestFrame;

use crate::{catalog::catalog, golden::golden, wire::Random};

#[test]
fn a_message_cut_short_is_refused_wherever_it_is_cut() {
    let codecs = catalog();
    for line in golden() {
        let codec = codecs.iter().find(|codec| codec.shape.name == line.name).unwrap();
        for bytes in [line.full, line.nulls, line.default] {
            for end in 0..bytes.len() {
                let cut = (codec.read)(*line.versions.end(), bytes.slice(..end));
                assert!(cut.is_err(), "{} {:?} up to {end}", line.name, line.versions);
            }
        }
    }
}

/// Goal: librdkafka's Metadata requests, behind which stray bytes follow, are understood.
#[test]
fn bytes_behind_a_message_stay_unread() {
    let codecs = catalog();
    for line in golden() {
        let codec = codecs.iter().find(|codec| codec.shape.name == line.name).unwrap();
        let version = *line.versions.end();
        let longer: Bytes = [&line.full[..], b"stray"].concat().into();
        assert_eq!((codec.read)(version, longer.clone()), Ok(5), "{}", line.name);
        assert_eq!((codec.rewrite)(version, longer).unwrap(), line.full, "{}", line.name);
    }
}

/// Goal: no change of a few bytes makes the codec panic, take more memory than its budget, or
/// read what it cannot write.
#[test]
fn changed_messages_are_read_or_refused() {
    let codecs = catalog();
    let mut random = Random::new(7);
    let mut refused = 0;
    for line in golden() {
        let codec = codecs.iter().find(|codec| codec.shape.name == line.name).unwrap();
        for version in line.versions {
            for _ in 0..60 {
                let changed = change(&line.full, &mut random);
                match (codec.rewrite)(version, changed.clone()) {
                    // Read again, it is what it was: nothing got lost on the way.
                    Ok(written) => {
                        let again = (codec.print)(version, written).unwrap();
                        assert_eq!(again, (codec.print)(version, changed).unwrap());
                    }
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(refused > 1000, "only {refused} of the changes did any harm");
}

fn change(bytes: &[u8], random: &mut Random) -> Bytes {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        let place = random.below(bytes.len() + 1);
        match (random.below(4), place < bytes.len()) {
            (0, true) => bytes[place] = random.next() as u8,
            (1, true) => bytes[place] = if random.below(2) == 0 { 0xff } else { 0x7f },
            (2, true) => drop(bytes.remove(place)),
            _ => bytes.insert(place, random.next() as u8),
        }
    }
    bytes.into()
}

#[test]
fn noise_is_read_or_refused() {
    let codecs = catalog();
    let mut random = Random::new(8);
    for _ in 0..20_000 {
        let noise: Bytes = (0..random.below(60)).map(|_| random.next() as u8).collect();
        let codec = &codecs[random.below(codecs.len())];
        for version in [codec.shape.versions.first, codec.shape.versions.last] {
            drop((codec.read)(version, noise.clone()));
        }
        drop(RequestFrame::open(noise));
    }
}
