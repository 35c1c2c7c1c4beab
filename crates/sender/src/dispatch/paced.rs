//! Writing under a bandwidth limit: in slices, each of which waits for its turn. While a
//! part waits, the frames of its link (answers, pings, offers withdrawn) go out.

use std::time::Duration;

use sealift_tunnel::TunnelError;
use sealift_wire::Header;

use super::link_task::LinkTask;

impl LinkTask {
    /// Writes a piece of a part as several frames. One that is no longer wanted is left
    /// where it is, as between any two frames.
    pub(super) async fn paced_piece(
        &mut self,
        header: &Header,
        bytes: &[u8],
    ) -> Result<(), TunnelError> {
        let (offer, part) = (header.offer(), header.part);
        let (mut rest, mut offset) = (bytes, header.offset);
        while !rest.is_empty() {
            let slice = self.slice_of(rest);
            let (now, later) = rest.split_at(slice);
            let wait = self.shared.pace.data(slice);
            self.wait_behind_frames(wait).await?;
            if !self.shared.machine.lock().wants(self.id, offer, part) {
                return Ok(());
            }
            let length = u32::try_from(slice).unwrap_or(u32::MAX);
            let header = Header::data(offer, part, offset, length);
            self.writer.data(&header, now).await?;
            self.writer.flush().await?;
            offset = offset.saturating_add(length);
            rest = later;
        }
        self.owed = self.owed.saturating_sub(bytes.len());
        Ok(())
    }

    /// Writes a piece that cannot be cut.
    pub(super) async fn paced_whole(
        &mut self,
        header: &Header,
        bytes: &[u8],
    ) -> Result<(), TunnelError> {
        let wait = self.shared.pace.data(bytes.len());
        self.wait_behind_frames(wait).await?;
        self.writer.data(header, bytes).await?;
        self.owed = self.owed.saturating_sub(bytes.len());
        self.writer.flush().await
    }

    /// Writes the bytes of a small object behind its offer. Nothing may come between
    /// these, so all of them wait here.
    pub(super) async fn paced_inline(&mut self, content: &[u8]) -> Result<(), TunnelError> {
        let mut rest = content;
        while !rest.is_empty() {
            let slice = self.slice_of(rest);
            let (now, later) = rest.split_at(slice);
            let wait = self.shared.pace.data(slice);
            if !wait.is_zero() {
                self.writer.flush().await?;
                tokio::time::sleep(wait).await;
            }
            self.writer.payload(now).await?;
            rest = later;
        }
        self.owed = self.owed.saturating_add(content.len());
        Ok(())
    }

    fn slice_of(&self, rest: &[u8]) -> usize {
        self.shared
            .pace
            .slice()
            .map_or(rest.len(), |slice| slice.min(rest.len()))
    }

    /// Waits; frames that come up meanwhile are written.
    async fn wait_behind_frames(&mut self, wait: Duration) -> Result<(), TunnelError> {
        if wait.is_zero() {
            return Ok(());
        }
        let over = tokio::time::sleep(wait);
        tokio::pin!(over);
        loop {
            self.writer.flush().await?;
            let signals = self.signals.clone();
            tokio::select! {
                () = &mut over => return Ok(()),
                // Whatever else it calls for is found after the piece.
                () = signals.wake.notified() => {
                    self.shared.machine.lock().frames(self.id, &mut self.out);
                    self.queue();
                }
            }
        }
    }
}
