//! Buffers that are used again: memory that is given back and asked for anew costs more than what is read into it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers that nobody uses at the moment. At most as many come back as were out at the same time.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer on its way through the archive. It comes back when the last part of it is dropped.
struct Lent {
    content: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    /// An empty buffer with room for so many bytes.
    pub fn take(&self, bytes: usize) -> Vec<u8> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        buffer.reserve(bytes);
        buffer
    }

    /// Gives out what was read into a buffer.
    pub fn lend(&self, content: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { content, home: self.clone() })
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut content = std::mem::take(&mut self.content);
        content.clear();
        self.home.0.lock().unwrap_or_else(PoisonError::into_inner).push(content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_nobody_has_any_of_it() {
        let buffers = Buffers::default();
        let mut one = buffers.take(100);
        one.extend_from_slice(b"content");
        let place = one.as_ptr();
        let lent = buffers.lend(one);
        let part = lent.slice(3..);
        drop(lent);
        let other = buffers.take(1);
        assert!(other.as_ptr() != place);
        assert_eq!(&part[..], b"tent");
        drop(part);
        let again = buffers.take(10);
        assert!(again.is_empty() && again.as_ptr() == place);
    }
}
