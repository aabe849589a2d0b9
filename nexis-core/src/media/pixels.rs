//! The bytes of a picture, and a hold on the same pixels where a device has them.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Bytes of a picture on the host, and, where a device made them, a copy in its memory beside them. They cannot come apart: other
/// bytes are other pixels, which no device has.
///
/// The bytes are all that counts: the copy holds the same, takes part in no comparison and may be missing. It keeps memory of
/// the device for as long as it is held.
#[derive(Clone)]
pub struct Pixels {
    bytes: Arc<[u8]>,
    copy: Option<Arc<dyn Any + Send + Sync>>,
}

impl Pixels {
    /// Bytes with a copy of them that whoever knows the device can find again by its type.
    pub fn with_copy(bytes: Arc<[u8]>, copy: Arc<dyn Any + Send + Sync>) -> Self {
        Self { bytes, copy: Some(copy) }
    }

    /// The copy, where there is one of this type.
    pub fn copy<T: Any>(&self) -> Option<&T> {
        self.copy.as_ref()?.downcast_ref()
    }

    /// Whether there is a copy, of whatever type.
    pub fn has_copy(&self) -> bool {
        self.copy.is_some()
    }

    /// Lets go of the copy, where there is one.
    pub fn drop_copy(&mut self) {
        self.copy = None;
    }
}

impl Deref for Pixels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Pixels {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Pixels {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Pixels {}

impl fmt::Debug for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pixels({} bytes)", self.len())
    }
}

impl From<Arc<[u8]>> for Pixels {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self { bytes, copy: None }
    }
}

impl From<Vec<u8>> for Pixels {
    fn from(bytes: Vec<u8>) -> Self {
        Arc::<[u8]>::from(bytes).into()
    }
}

impl From<&[u8]> for Pixels {
    fn from(bytes: &[u8]) -> Self {
        Arc::<[u8]>::from(bytes).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Frame;

    #[test]
    fn a_copy_changes_nothing_but_where_pixels_are_found() {
        let copy = Arc::new("on a device");
        let bytes: Arc<[u8]> = vec![1; 12].into();
        let with =
            Frame { width: 2, height: 2, pts_seconds: 0.5, rgb: Pixels::with_copy(bytes, copy.clone()) };
        let without = Frame { rgb: vec![1; 12].into(), ..with.clone() };
        assert!(with == without && with.digest() == without.digest());
        assert_eq!(format!("{with:?} {:?}", with.rgb), format!("{without:?} {:?}", without.rgb));
        assert_eq!(with.rgb.copy::<&str>(), Some(&"on a device"));
        // Another device's type is not found, and other bytes have no copy.
        assert!(with.rgb.copy::<String>().is_none() && !without.rgb.has_copy());
        let mut clone = with.clone();
        assert_eq!(Arc::strong_count(&copy), 3);
        clone.leave_device();
        assert!(clone == with && !clone.rgb.has_copy());
        drop(with);
        assert_eq!(Arc::strong_count(&copy), 1);
    }
}
