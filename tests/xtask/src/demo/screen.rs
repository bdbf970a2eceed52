//! A bar and two lines on a terminal; a line every two seconds where there is none.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::live::Lags;
use super::shop::Sold;

/// Between two plain lines.
const EVERY: Duration = Duration::from_secs(2);

/// One moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picture {
    pub(super) sold: Sold,
    /// Rows a second changed at the source.
    pub(super) rows_in: f64,
    /// Rows a second applied at the target.
    pub(super) rows_out: f64,
    /// As the loader measures them.
    pub(super) lags: Option<Lags>,
}

/// Where pictures and notes go.
#[derive(Debug)]
pub(super) enum Screen {
    Terminal { all: MultiProgress, bar: ProgressBar, lags: ProgressBar },
    Lines { last: Option<Instant> },
}

impl Screen {
    /// For a shop that is open for `time`.
    pub(super) fn open(time: Duration) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines { last: None };
        }
        let style =
            |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let all = MultiProgress::new();
        let bar = all.add(ProgressBar::new(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
        bar.set_style(style("{wide_bar:.cyan/blue} {percent:>3} %\n{msg}"));
        let lags = all.add(ProgressBar::new_spinner());
        lags.set_style(style("{msg}"));
        Self::Terminal { all, bar, lags }
    }

    /// Shows a moment.
    pub(super) fn show(&mut self, picture: &Picture) {
        let (flow, lag) = (flow(picture), picture.lags.map_or_else(|| "lag      -".to_owned(), described));
        match self {
            Self::Terminal { bar, lags, .. } => {
                bar.set_position(u64::try_from(picture.sold.time.as_millis()).unwrap_or(u64::MAX));
                bar.set_message(flow);
                lags.set_message(lag);
            }
            Self::Lines { last } => {
                if last.is_none_or(|last| last.elapsed() + Duration::from_millis(100) >= EVERY) {
                    *last = Some(Instant::now());
                    eprintln!("{:>4} s  {flow}  {lag}", picture.sold.time.as_secs());
                }
            }
        }
    }

    /// Says something that stays.
    pub(super) fn note(&self, text: &str) {
        match self {
            Self::Terminal { all, .. } => all.suspend(|| eprintln!("{text}")),
            Self::Lines { .. } => eprintln!("{text}"),
        }
    }

    /// Takes the bar away.
    pub(super) fn close(&self) {
        if let Self::Terminal { bar, lags, .. } = self {
            bar.finish_and_clear();
            lags.finish_and_clear();
        }
    }
}

fn flow(picture: &Picture) -> String {
    let Sold { transactions, rows, ddl, .. } = picture.sold;
    format!(
        "rows/s   in {:>6.0}  out {:>6.0}   so far {transactions} transactions, {rows} rows, {ddl} DDL",
        picture.rows_in, picture.rows_out
    )
}

fn described(lags: Lags) -> String {
    let Lags { read, transit, apply, end_to_end } = lags;
    format!(
        "lag      read {}  transit {}  apply {}  end to end {}",
        seconds(read),
        seconds(transit),
        seconds(apply),
        seconds(end_to_end)
    )
}

/// A short time, as people read it.
pub(super) fn seconds(value: f64) -> String {
    if value < 1.0 { format!("{:.0} ms", value * 1e3) } else { format!("{value:.1} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_times_are_milliseconds() {
        assert_eq!((seconds(0.0042), seconds(1.25)), ("4 ms".to_owned(), "1.2 s".to_owned()));
    }
}
