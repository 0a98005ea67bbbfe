//! Numbers by chance that come again for the same seed.

use std::time::Duration;

/// A source of them.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits, by the generator that its authors call `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Whether something happens that does so once in `times`.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Up to so many milliseconds, by the microsecond.
    pub(super) fn time(&mut self, milliseconds_max: u64) -> Duration {
        Duration::from_micros(self.below(milliseconds_max * 1000 + 1))
    }

    /// One of `all`, each as often as its weight says.
    pub(super) fn one_of<T: Copy>(&mut self, all: &[(u64, T)]) -> T {
        let mut rest = self.below(all.iter().map(|(weight, _)| weight).sum());
        for &(weight, one) in all {
            if rest < weight {
                return one;
            }
            rest -= weight;
        }
        unreachable!("the rest is below the sum of all weights")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_gives_others() {
        let numbers = |seed| {
            let mut dice = Dice::new(seed);
            [0; 20].map(|_: u64| dice.below(1000))
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn weights_count() {
        let mut dice = Dice::new(1);
        let heavy = (0..1000).filter(|_| dice.one_of(&[(9, true), (1, false)])).count();
        assert!((850..950).contains(&heavy), "{heavy}");
    }
}
