//! What stays wrong is told once.

/// The last trouble of one kind that was told.
#[derive(Debug, Default)]
pub(crate) struct Told(Option<String>);

impl Told {
    /// Whether this is another trouble than the last; it counts as told from now on.
    pub(crate) fn is_news(&mut self, trouble: &str) -> bool {
        let is_news = self.0.as_deref() != Some(trouble);
        if is_news {
            self.0 = Some(trouble.to_owned());
        }
        is_news
    }

    /// All is well: the same is news when it comes back.
    pub(crate) fn is_over(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_until_another_or_none_comes_between() {
        let mut told = Told::default();
        let news: Vec<bool> = ["a", "a", "b", "a"].map(|it| told.is_news(it)).into();
        assert_eq!(news, [true, false, true, true]);
        told.is_over();
        assert!(told.is_news("a"));
    }
}
