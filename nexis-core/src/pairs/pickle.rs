//! Python pickles of numpy arrays, read as data.
//!
//! A pickle is a program. This reads the few instructions that numpy writes for an array of texts or numbers, knows
//! the six functions that they call by name, and calls nothing. Whatever else stands in a pickle is refused.

/// An array, flattened in the order of its rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Array {
    /// Texts.
    Texts(Vec<String>),
    /// Numbers.
    Numbers(Vec<f64>),
}

/// Deepest stack. Python writes a list by a thousand items at a time; nothing else is deep.
const DEEPEST: usize = 4096;
/// Most values, and most that are noted: an instruction of a byte makes a whole value.
const MOST_VALUES: usize = 4_000_000;
/// Most axes of an array, which numpy's have, and most arguments of a function.
const MOST_AXES: usize = 64;
/// Longest name of a function: the known ones are shorter.
const LONGEST_NAME: usize = 64;

type Place = usize;

#[derive(Clone, Debug)]
enum Value {
    Nothing,
    Mark,
    Number(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Place>),
    List(Vec<Place>),
    Global(String),
    /// Kind and bytes of an element, and whether its bytes are in big-endian order.
    Kind {
        kind: char,
        size: usize,
        big: bool,
    },
    Array {
        kind: Option<Place>,
        shape: Vec<usize>,
        columns_first: bool,
        data: Option<Place>,
    },
}

struct Machine<'a> {
    input: &'a [u8],
    /// Every value that was made; instructions name them by place, so that one may be changed after it was noted.
    made: Vec<Value>,
    stack: Vec<Place>,
    memo: std::collections::HashMap<u32, Place>,
    /// Bytes that may still be copied: a noted text could be copied once for each byte of the file.
    budget: usize,
}

/// The array that a pickle holds.
///
/// # Errors
/// In words, where it holds anything else.
pub(super) fn array(bytes: &[u8]) -> Result<Array, String> {
    let mut machine = Machine {
        input: bytes,
        made: Vec::new(),
        stack: Vec::new(),
        memo: std::collections::HashMap::new(),
        budget: bytes.len().saturating_mul(4),
    };
    let place = machine.run().ok_or("it is no pickle of a numpy array, or is broken")?;
    machine.flat(place)
}

impl Machine<'_> {
    fn run(&mut self) -> Option<Place> {
        loop {
            let [instruction] = self.take::<1>()?;
            match instruction {
                0x80 => drop(self.take::<1>()?),
                0x95 => drop(self.take::<8>()?),
                b'.' => return self.stack.pop(),
                b'(' => self.push(Value::Mark)?,
                b'0' => drop(self.stack.pop()?),
                b'N' => self.push(Value::Nothing)?,
                0x88 => self.push(Value::Number(1.0))?,
                0x89 => self.push(Value::Number(0.0))?,
                b'K' => {
                    let [n] = self.take()?;
                    self.push(Value::Number(n.into()))?;
                }
                b'M' => {
                    let n = u16::from_le_bytes(self.take()?);
                    self.push(Value::Number(n.into()))?;
                }
                b'J' => {
                    let n = i32::from_le_bytes(self.take()?);
                    self.push(Value::Number(n.into()))?;
                }
                0x8a => self.long()?,
                b'G' => {
                    let n = f64::from_be_bytes(self.take()?);
                    self.push(Value::Number(n))?;
                }
                0x8c => self.text(1)?,
                b'X' => self.text(4)?,
                0x8d => self.text(8)?,
                b'C' | b'U' => self.bytes(1)?,
                b'B' | b'T' => self.bytes(4)?,
                0x8e | 0x96 => self.bytes(8)?,
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Value::Global(format!("{module}.{name}")))?;
                }
                0x93 => {
                    let (name, module) = (self.pop_name()?, self.pop_name()?);
                    self.push(Value::Global(format!("{module}.{name}")))?;
                }
                b')' => self.push(Value::Tuple(Vec::new()))?,
                0x85..=0x87 => {
                    let first = self.stack.len().checked_sub(usize::from(instruction - 0x84))?;
                    let items = self.stack.split_off(first);
                    self.push(Value::Tuple(items))?;
                }
                b't' => {
                    let items = self.since_mark()?;
                    self.push(Value::Tuple(items))?;
                }
                b']' => self.push(Value::List(Vec::new()))?,
                b'a' => {
                    let item = self.stack.pop()?;
                    self.list()?.push(item);
                }
                b'e' => {
                    let items = self.since_mark()?;
                    self.list()?.extend(items);
                }
                b'q' => {
                    let [n] = self.take()?;
                    self.note(n.into())?;
                }
                b'r' => {
                    let n = u32::from_le_bytes(self.take()?);
                    self.note(n)?;
                }
                0x94 => self.note(u32::try_from(self.memo.len()).ok()?)?,
                b'h' => {
                    let [n] = self.take()?;
                    self.recall(n.into())?;
                }
                b'j' => {
                    let n = u32::from_le_bytes(self.take()?);
                    self.recall(n)?;
                }
                b'R' => self.call()?,
                b'b' => self.state()?,
                _ => return None,
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.input.split_first_chunk::<N>()?;
        self.input = rest;
        Some(*head)
    }

    /// So many bytes, by a length of `width` bytes in front of them.
    fn counted(&mut self, width: usize) -> Option<Vec<u8>> {
        let (length, rest) = self.input.split_at_checked(width)?;
        let length = length
            .iter()
            .rev()
            .try_fold(0_usize, |n, byte| n.checked_mul(256)?.checked_add((*byte).into()))?;
        let (bytes, rest) = rest.split_at_checked(length)?;
        self.input = rest;
        Some(bytes.to_vec())
    }

    fn text(&mut self, width: usize) -> Option<()> {
        let text = String::from_utf8(self.counted(width)?).ok()?;
        self.push(Value::Text(text))
    }

    fn bytes(&mut self, width: usize) -> Option<()> {
        let bytes = self.counted(width)?;
        self.push(Value::Bytes(bytes))
    }

    fn long(&mut self) -> Option<()> {
        let bytes = self.counted(1)?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide.get_mut(..bytes.len())?.copy_from_slice(&bytes);
        self.push(Value::Number(i64::from_le_bytes(wide) as f64))
    }

    fn line(&mut self) -> Option<String> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.input.split_at_checked(end)?;
        self.input = rest.get(1..)?;
        String::from_utf8(line.to_vec()).ok()
    }

    fn push(&mut self, value: Value) -> Option<()> {
        self.shallow()?;
        (self.made.len() < MOST_VALUES).then_some(())?;
        self.stack.push(self.made.len());
        self.made.push(value);
        Some(())
    }

    /// Part of a function's name.
    fn pop_name(&mut self) -> Option<String> {
        let place = self.stack.pop()?;
        match self.made.get(place)? {
            Value::Text(text) if text.len() <= LONGEST_NAME => Some(text.clone()),
            _ => None,
        }
    }

    fn since_mark(&mut self) -> Option<Vec<Place>> {
        let mark = self.stack.iter().rposition(|place| matches!(self.made.get(*place), Some(Value::Mark)))?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop()?;
        Some(items)
    }

    fn list(&mut self) -> Option<&mut Vec<Place>> {
        match self.made.get_mut(*self.stack.last()?)? {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    fn note(&mut self, number: u32) -> Option<()> {
        let place = *self.stack.last()?;
        (self.memo.len() < MOST_VALUES).then_some(())?;
        self.memo.insert(number, place);
        Some(())
    }

    fn recall(&mut self, number: u32) -> Option<()> {
        let place = *self.memo.get(&number)?;
        self.shallow()?;
        self.stack.push(place);
        Some(())
    }

    fn shallow(&self) -> Option<()> {
        (self.stack.len() < DEEPEST).then_some(())
    }

    fn tuple(&self, place: Place) -> Option<&[Place]> {
        match self.made.get(place)? {
            Value::Tuple(items) if items.len() <= MOST_AXES => Some(items),
            _ => None,
        }
    }

    fn spend(&mut self, bytes: usize) -> Option<()> {
        self.budget = self.budget.checked_sub(bytes)?;
        Some(())
    }

    /// A function and its arguments become what the function would give.
    fn call(&mut self) -> Option<()> {
        let arguments = self.stack.pop()?;
        let arguments = self.tuple(arguments)?.to_vec();
        let function = self.stack.pop()?;
        let Value::Global(name) = self.made.get(function)? else { return None };
        let result = match (name.as_str(), arguments.as_slice()) {
            ("numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct", _) => {
                Value::Array { kind: None, shape: Vec::new(), columns_first: false, data: None }
            }
            (
                "numpy.core.numeric._frombuffer" | "numpy._core.numeric._frombuffer",
                [data, kind, shape, order],
            ) => {
                let columns_first = matches!(self.made.get(*order)?, Value::Text(order) if order == "F");
                Value::Array {
                    kind: Some(*kind),
                    shape: self.shape(*shape)?,
                    columns_first,
                    data: Some(*data),
                }
            }
            ("numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar", [kind, data]) => {
                Value::Array { kind: Some(*kind), shape: vec![1], columns_first: false, data: Some(*data) }
            }
            ("numpy.dtype", [code, ..]) => {
                let Value::Text(code) = self.made.get(*code)? else { return None };
                let kind = code.chars().next()?;
                let size: usize = code.get(1..)?.parse().ok()?;
                Value::Kind { kind, size: if kind == 'U' { size.checked_mul(4)? } else { size }, big: false }
            }
            // How protocol 2 writes bytes: characters below 256.
            ("_codecs.encode", [text, _]) => {
                let Value::Text(text) = self.made.get(*text)? else { return None };
                let bytes =
                    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<u8>>>()?;
                self.spend(bytes.len())?;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        self.push(result)
    }

    /// What `__setstate__` would do with the value on the top.
    fn state(&mut self) -> Option<()> {
        let state = self.stack.pop()?;
        let state = self.tuple(state)?.to_vec();
        let target = *self.stack.last()?;
        match (self.made.get(target)?, state.as_slice()) {
            (Value::Kind { .. }, [_, order, ..]) => {
                let is_big = matches!(self.made.get(*order)?, Value::Text(order) if order == ">");
                if let Value::Kind { big, .. } = self.made.get_mut(target)? {
                    *big = is_big;
                }
            }
            (Value::Array { .. }, [_, shape, kind, order, data]) => {
                let columns_first = matches!(self.made.get(*order)?, Value::Number(n) if *n != 0.0);
                let shape = self.shape(*shape)?;
                *self.made.get_mut(target)? =
                    Value::Array { kind: Some(*kind), shape, columns_first, data: Some(*data) };
            }
            _ => return None,
        }
        Some(())
    }

    fn shape(&self, place: Place) -> Option<Vec<usize>> {
        self.tuple(place)?
            .iter()
            .map(|edge| match self.made.get(*edge)? {
                Value::Number(n) if *n >= 0.0 && *n < 1e9 => Some(*n as usize),
                _ => None,
            })
            .collect()
    }

    fn flat(&mut self, place: Place) -> Result<Array, String> {
        match self.made.get(place) {
            Some(Value::List(items) | Value::Tuple(items)) => {
                let items = items.clone();
                self.objects(&items)
            }
            _ => self.elements(place, true),
        }
    }

    /// The elements of an array; objects among them only where `objects` may be: numpy's scalars hold none, and an array
    /// that holds itself would never end.
    fn elements(&mut self, place: Place, objects: bool) -> Result<Array, String> {
        let odd = || "it holds no array of texts or numbers".to_owned();
        match self.made.get(place).cloned().ok_or_else(odd)? {
            Value::Array { kind: Some(kind), shape, columns_first, data: Some(data) } => {
                if columns_first && shape.iter().filter(|edge| **edge > 1).count() > 1 {
                    return Err("its array is stored column by column; save it with order=\"C\"".into());
                }
                let count = shape.iter().try_fold(1_usize, |n, edge| n.checked_mul(*edge)).ok_or_else(odd)?;
                let Some(Value::Kind { kind, size, big }) = self.made.get(kind).cloned() else {
                    return Err(odd());
                };
                match self.made.get(data) {
                    Some(Value::List(items)) if objects && kind == 'O' && items.len() == count => {
                        let items = items.clone();
                        self.objects(&items)
                    }
                    Some(Value::Bytes(bytes)) if Some(bytes.len()) == count.checked_mul(size) && size > 0 => {
                        let spent = self.budget.checked_sub(bytes.len()).ok_or_else(too_often)?;
                        let found = elements(bytes, kind, size, big).ok_or_else(odd)?;
                        self.budget = spent;
                        Ok(found)
                    }
                    _ => Err(odd()),
                }
            }
            _ => Err(odd()),
        }
    }

    /// Python objects: texts, numbers, or numpy's scalars of them.
    fn objects(&mut self, items: &[Place]) -> Result<Array, String> {
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        for item in items {
            match self.made.get(*item) {
                Some(Value::Text(text)) => {
                    let text = text.clone();
                    self.spend(text.len()).ok_or_else(too_often)?;
                    texts.push(text);
                }
                Some(Value::Number(number)) => numbers.push(*number),
                Some(Value::Array { shape, .. }) if shape.as_slice() == [1] => {
                    match self.elements(*item, false)? {
                        Array::Texts(more) => texts.extend(more),
                        Array::Numbers(more) => numbers.extend(more),
                    }
                }
                _ => return Err("it holds something that is neither text nor number".into()),
            }
        }
        match (texts.is_empty(), numbers.is_empty()) {
            (false, true) => Ok(Array::Texts(texts)),
            (true, false) => Ok(Array::Numbers(numbers)),
            _ => Err("it holds nothing, or texts and numbers side by side".into()),
        }
    }
}

fn too_often() -> String {
    "it repeats a text too often".to_owned()
}

fn elements(bytes: &[u8], kind: char, size: usize, big: bool) -> Option<Array> {
    // Everything as little-endian.
    let ordered = |element: &[u8]| -> Vec<u8> {
        if big { element.iter().rev().copied().collect() } else { element.to_vec() }
    };
    let whole = |element: &[u8], negative: bool| -> [u8; 8] {
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        for (to, from) in wide.iter_mut().zip(element) {
            *to = *from;
        }
        wide
    };
    if kind == 'U' {
        let texts = bytes.chunks_exact(size).map(|element| {
            let points = element.chunks_exact(4).map(|point| {
                let point = ordered(point);
                Some(u32::from_le_bytes(point.first_chunk::<4>().copied()?))
            });
            let mut text = String::new();
            for point in points {
                text.push(char::from_u32(point?)?);
            }
            // Shorter texts are filled up with nulls.
            Some(text.trim_end_matches('\0').to_owned())
        });
        return texts.collect::<Option<_>>().map(Array::Texts);
    }
    let numbers = bytes.chunks_exact(size).map(|element| {
        let element = ordered(element);
        match (kind, size) {
            ('f', 4) => Some(f32::from_le_bytes(element.first_chunk::<4>().copied()?).into()),
            ('f', 8) => Some(f64::from_le_bytes(element.first_chunk::<8>().copied()?)),
            ('i', 1 | 2 | 4 | 8) => {
                let negative = element.last().is_some_and(|byte| byte & 0x80 != 0);
                Some(i64::from_le_bytes(whole(&element, negative)) as f64)
            }
            ('u', 1 | 2 | 4 | 8) | ('b', 1) => Some(u64::from_le_bytes(whole(&element, false)) as f64),
            _ => None,
        }
    });
    numbers.collect::<Option<_>>().map(Array::Numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pickle_that_does_anything_else_is_refused() {
        // os.system("true"), as pickletools writes it.
        for hostile in [
            &b"cos\nsystem\n(S'true'\ntR."[..],
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(t",
            b"",
            b".",
            b"N.",
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(array(hostile).is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn an_array_that_holds_itself_ends() {
        let own = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)Rq\x00(K\x01K\x01\x85cnumpy\ndtype\nX\x02\x00\x00\x00O8\
                    \x85R\x89]h\x00atb.";
        assert_eq!(array(own).unwrap_err(), "it holds no array of texts or numbers");
    }

    #[test]
    fn what_a_few_bytes_make_is_bounded() {
        // A long text as a function's name, twice for every six bytes.
        let mut names = b"\x80\x02X\x00\x00\x01\x00".to_vec();
        names.extend([b'a'; 1 << 16]);
        names.extend(b"q\x00");
        names.extend(b"h\x00h\x00\x930".repeat(1000));
        // A value for every two bytes, and a name for every one.
        let values = b"N0".repeat(MOST_VALUES + 1);
        let notes = [b"N".as_slice(), &[0x94].repeat(MOST_VALUES + 1), b"."].concat();
        // One scalar of a long text, many times.
        let mut scalar = b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x05\x00\x00\x00U4096\x85RB\x00\x40\x00\x00".to_vec();
        scalar.extend(b"a\x00\x00\x00".repeat(4096));
        scalar.extend(b"\x86Rq\x00](");
        scalar.extend(b"h\x00".repeat(1000));
        scalar.extend(b"e.");
        for hostile in [names, values, notes] {
            assert_eq!(array(&hostile).unwrap_err(), "it is no pickle of a numpy array, or is broken");
        }
        assert_eq!(array(&scalar).unwrap_err(), too_often());
    }

    #[test]
    fn a_noted_text_is_not_copied_without_end() {
        let mut pickle = b"\x80\x02X\x00\x04\x00\x00".to_vec();
        pickle.extend([b'a'; 1024]);
        pickle.extend(b"q\x000](");
        pickle.extend(b"h\x00".repeat(3000));
        pickle.extend(b"e.");
        assert_eq!(array(&pickle).unwrap_err(), "it repeats a text too often");
    }

    #[test]
    fn plain_lists_are_read() {
        assert_eq!(array(b"\x80\x02](K\x01K\x02e.").unwrap(), Array::Numbers(vec![1.0, 2.0]));
        assert_eq!(array(b"\x80\x02]X\x01\x00\x00\x00aa.").unwrap(), Array::Texts(vec!["a".into()]));
    }
}
