//! Which one is asked for: few things are popular, and most are not.

/// Draws numbers from 0, of which each is the less likely the larger it is.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    /// How likely it is that a number is this one or a smaller one.
    up_to: Vec<f64>,
}

impl Zipf {
    /// Of numbers below `count`; the larger `skew`, the more popular are the popular.
    pub(crate) fn new(count: u32, skew: f64) -> Self {
        let mut sum = 0.0;
        let mut up_to: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += f64::from(rank).powf(-skew);
                sum
            })
            .collect();
        for likely in &mut up_to {
            *likely /= sum;
        }
        Self { up_to }
    }

    pub(crate) fn draw(&self) -> u32 {
        let drawn = fastrand::f64();
        let place = self.up_to.partition_point(|likely| *likely <= drawn);
        u32::try_from(place).unwrap_or(u32::MAX)
    }
}
