//! Snappy's block format, which remote write and remote read are packed in.

/// Unpacks a body. The length that it announces is bounded before anything is allocated.
pub(super) fn decompress(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, String> {
    let length = snap::raw::decompress_len(bytes).map_err(|e| format!("corrupt snappy body: {e}"))?;
    // Snappy shrinks to a fiftieth at the very best: what announces more is a lie.
    if length > bytes.len().saturating_mul(64).saturating_add(1024) {
        return Err(format!("corrupt snappy body: {} bytes cannot hold the {length} that it announces", bytes.len()));
    }
    if length > bytes_max {
        return Err(format!("the decompressed body would have {length} bytes, at most {bytes_max} are allowed"));
    }
    snap::raw::Decoder::new().decompress_vec(bytes).map_err(|e| format!("corrupt snappy body: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_announces_too_much_is_refused_before_memory_is_taken() {
        // The length prefix says 4 GiB - 1.
        let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
        assert!(decompress(&lie, usize::MAX).unwrap_err().contains("7 bytes cannot hold"));
        let honest = snap::raw::Encoder::new().compress_vec(&vec![7; 1 << 20]).unwrap();
        assert_eq!(decompress(&honest, 1 << 20).unwrap().len(), 1 << 20);
        assert!(decompress(&honest, (1 << 20) - 1).unwrap_err().contains("at most 1048575"));
        let cut = snap::raw::Encoder::new().compress_vec(&[1, 2, 3, 4]).unwrap();
        for end in 0..cut.len() {
            assert!(decompress(&cut[..end], 1 << 20).is_err(), "cut at {end}");
        }
    }
}
