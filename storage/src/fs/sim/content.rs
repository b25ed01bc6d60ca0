//! A file's bytes, page by page, so that holes cost nothing and copies little.

use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE: u64 = 4096;

type Page = [u8; PAGE as usize];

/// Bytes of a file; pages never written are zero. Clones share pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    len: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.retain(|&page, _| page * PAGE < len);
            let within = (len % PAGE) as usize;
            if within > 0
                && let Some(page) = self.pages.get_mut(&(len / PAGE))
            {
                Arc::make_mut(page)[within..].fill(0);
            }
        }
        self.len = len;
    }

    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let n = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < n {
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let step = (n - done).min(PAGE as usize - within);
            let part = &mut buf[done..done + step];
            match self.pages.get(&(at / PAGE)) {
                Some(page) => part.copy_from_slice(&page[within..within + step]),
                None => part.fill(0),
            }
            done += step;
        }
        n
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let step = (bytes.len() - done).min(PAGE as usize - within);
            let page = self.pages.entry(at / PAGE).or_insert_with(|| Arc::new([0; PAGE as usize]));
            Arc::make_mut(page)[within..within + step].copy_from_slice(&bytes[done..done + step]);
            done += step;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }
}
