//! Bytes of messages, made up at random from the tables alone.

use crate::table::{Field, Kind, Module, Struct};

/// Whether structs carry a tagged field that no version knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strangers {
    Absent,
    Present,
}

/// A message of `version`, in the one form in which it is written: of the tagged fields, only
/// those that say something. The same seed gives the same message.
pub(crate) fn message(
    module: &Module,
    item: &Struct,
    version: i16,
    seed: u64,
    strangers: Strangers,
) -> Vec<u8> {
    let random = Random::new(seed);
    let flexible = module.is_flexible(version);
    let mut maker = Maker { module, version, flexible, random, strangers, out: Vec::new() };
    maker.item(item);
    maker.out
}

/// SplitMix64: enough chance, and the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

/// How a value may turn out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Anything,
    /// Not the default: a tagged field that has its default is not written.
    Something,
}

struct Maker<'a> {
    module: &'a Module,
    version: i16,
    flexible: bool,
    random: Random,
    strangers: Strangers,
    out: Vec<u8>,
}

impl Maker<'_> {
    fn item(&mut self, item: &Struct) {
        let here = |field: &&Field| field.versions.contains(self.version);
        let fields: Vec<&Field> = item.fields.iter().filter(here).collect();
        for field in fields.iter().filter(|field| field.tag.is_none()) {
            self.field(field, Wanted::Anything);
        }
        if self.flexible {
            let tagged = fields.into_iter().filter(|field| field.tag.is_some());
            let chosen: Vec<&Field> = tagged.filter(|_| self.random.below(2) == 0).collect();
            self.tagged_fields(&chosen);
        }
    }

    fn tagged_fields(&mut self, fields: &[&Field]) {
        let strangers = usize::from(self.strangers == Strangers::Present);
        self.varint(fields.len() + strangers);
        for field in fields {
            self.varint(field.tag.unwrap_or_default() as usize);
            let before = std::mem::take(&mut self.out);
            self.field(field, Wanted::Something);
            let value = std::mem::replace(&mut self.out, before);
            self.varint(value.len());
            self.out.extend(value);
        }
        if strangers == 1 {
            self.varint(1_000_000);
            self.varint(3);
            self.out.extend(b"new");
        }
    }

    fn field(&mut self, field: &Field, wanted: Wanted) {
        let may_be_null = field.nullable.is_some_and(|versions| versions.contains(self.version));
        let null = may_be_null && wanted == Wanted::Anything && self.random.below(4) == 0;
        match (field.array, &field.kind) {
            (true, _) if null => self.length(None, 4),
            (true, kind) => {
                let count = self.random.below(3) + usize::from(wanted == Wanted::Something);
                self.length(Some(count), 4);
                (0..count).for_each(|_| self.value(kind, Wanted::Anything));
            }
            (false, Kind::Struct(_)) if null => self.out.push(0xff),
            (false, Kind::String) if null => self.length(None, 2),
            (false, Kind::Bytes | Kind::Records) if null => self.length(None, 4),
            (false, kind) => {
                if may_be_null && matches!(kind, Kind::Struct(_)) {
                    self.out.push(1);
                }
                self.value(kind, wanted);
            }
        }
    }

    fn value(&mut self, kind: &Kind, wanted: Wanted) {
        match kind {
            Kind::Bool if wanted == Wanted::Something => self.out.push(1),
            Kind::Bool => {
                let value = self.random.below(2) as u8;
                self.out.push(value);
            }
            Kind::Int8 => self.int(1, wanted),
            Kind::Int16 => self.int(2, wanted),
            Kind::Int32 => self.int(4, wanted),
            Kind::Int64 => self.int(8, wanted),
            Kind::Uuid => {
                self.int(8, wanted);
                self.int(8, wanted);
            }
            Kind::String => {
                let texts = ["orders", "ü€𝄞", "a", &"long".repeat(60), ""];
                let choices = texts.len() - usize::from(wanted == Wanted::Something);
                let text = self.random.pick(&texts[..choices]);
                self.length(Some(text.len()), 2);
                self.out.extend(text.as_bytes());
            }
            Kind::Bytes | Kind::Records => {
                // Of these, the last is long enough to be passed on as a slice.
                let length = self.random.pick(&[0, 1, 127, 300, 5000]);
                self.length(Some(length), 4);
                let byte = self.random.next() as u8;
                self.out.extend(std::iter::repeat_n(byte, length));
            }
            Kind::Struct(name) => {
                let part = self.module.find(name).expect("checked when the table was read");
                self.item(part);
            }
        }
    }

    /// An integer of this many bytes: one from the edges, or any.
    fn int(&mut self, bytes: usize, wanted: Wanted) {
        let any = self.random.next() as i64;
        let value = match wanted {
            Wanted::Anything => self.random.pick(&[0, -1, 1, i64::MAX, i64::MIN, any, any]),
            Wanted::Something => any & 0x0f0f_0f0f_0f0f_0f0f | 2,
        };
        // The edges of the wider integer are edges of the narrower one in its upper half.
        self.out.extend(&value.to_be_bytes()[..bytes]);
    }

    fn length(&mut self, length: Option<usize>, plain_bytes: usize) {
        match (self.flexible, length) {
            (true, length) => self.varint(length.map_or(0, |length| length + 1)),
            (false, length) => {
                let length = length.map_or(-1, |length| length as i64);
                self.out.extend(&length.to_be_bytes()[8 - plain_bytes..]);
            }
        }
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}
