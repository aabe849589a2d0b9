//! Just enough of Thrift's compact encoding to look at Parquet headers before trusting them.

/// Reads a compact-encoded message from its front. `None` from any method means that it is broken.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Type codes of the compact encoding.
pub(super) mod kind {
    pub(in super::super) const TRUE: u8 = 1;
    pub(in super::super) const FALSE: u8 = 2;
    pub(in super::super) const I32: u8 = 5;
    pub(in super::super) const LIST: u8 = 9;
    pub(in super::super) const STRUCT: u8 = 12;
}

/// Structures deeper than this are refused; Parquet's own go to about six.
const MAX_DEPTH: usize = 24;

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Option<u8> {
        let b = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(b)
    }

    fn skip_bytes(&mut self, n: u64) -> Option<()> {
        let end = self.at.checked_add(usize::try_from(n).ok()?)?;
        (end <= self.bytes.len()).then(|| self.at = end)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let b = self.byte()?;
            value |= u64::from(b & 0x7f).checked_shl(shift)?;
            if b & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A zigzag integer.
    pub(super) fn integer(&mut self) -> Option<i64> {
        let raw = self.varint()?;
        Some((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()))
    }

    /// The next field of a structure: its number and type, or `Some(None)` at the end. Numbers must
    /// ascend, so that no field can come twice and mean two things to two readers.
    pub(super) fn field(&mut self, last: &mut i64) -> Option<Option<(i64, u8)>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        let delta = i64::from(head >> 4);
        let id = if delta == 0 { self.integer()? } else { last.checked_add(delta)? };
        if id <= *last {
            return None;
        }
        *last = id;
        Some(Some((id, head & 0x0f)))
    }

    /// The head of a list: its length and element type.
    pub(super) fn list(&mut self) -> Option<(u64, u8)> {
        let head = self.byte()?;
        let short = u64::from(head >> 4);
        let len = if short == 15 { self.varint()? } else { short };
        // An element has at least one byte.
        (len <= (self.bytes.len() - self.at) as u64).then_some((len, head & 0x0f))
    }

    /// Steps over a value.
    pub(super) fn skip(&mut self, kind: u8) -> Option<()> {
        self.skip_nested(kind, 0)
    }

    fn skip_nested(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            1 | 2 => Some(()),
            3 => self.skip_bytes(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip_bytes(8),
            8 => {
                let n = self.varint()?;
                self.skip_bytes(n)
            }
            9 | 10 => {
                let (len, element) = self.list()?;
                for _ in 0..len {
                    // A boolean is a field's type code in a structure, but a byte in a list.
                    self.skip_nested(if matches!(element, 1 | 2) { 3 } else { element }, depth + 1)?;
                }
                Some(())
            }
            11 => {
                let len = self.varint()?;
                if len == 0 {
                    return Some(());
                }
                let kinds = self.byte()?;
                for _ in 0..len {
                    for element in [kinds >> 4, kinds & 0x0f] {
                        self.skip_nested(if matches!(element, 1 | 2) { 3 } else { element }, depth + 1)?;
                    }
                }
                Some(())
            }
            12 => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip_nested(kind, depth + 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }
}
