//! The picture of a report, for documents.

use std::error::Error;

use plotters::prelude::*;
use vmem_core::BoxedError;

use crate::grouping::Grouping;
use crate::report::Report;

/// Whether a picture is for light paper or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// Width and height, in pixels.
const SIZE: (u32, u32) = (960, 400);

/// How many moments are drawn.
const COLUMNS: usize = 400;

/// The colours of groups, which the page's style has too: told apart by most people.
const GROUPS: [(u8, u8, u8); 12] = [
    (0x4c, 0x78, 0xa8),
    (0xf5, 0x85, 0x18),
    (0x54, 0xa2, 0x4b),
    (0xe4, 0x57, 0x56),
    (0x72, 0xb7, 0xb2),
    (0xb2, 0x79, 0xa2),
    (0xee, 0xca, 0x3b),
    (0x9d, 0x75, 0x5d),
    (0xff, 0x9d, 0xa6),
    (0x86, 0xbc, 0x86),
    (0x9e, 0xca, 0xe9),
    (0xba, 0xb0, 0xac),
];

/// The colours of stacks, on light and on dark, which the page's style has too: as many as there are stacks.
const STACKS: [[(u8, u8, u8); 8]; 2] = [
    [
        (0x11, 0x18, 0x27),
        (0xb9, 0x1c, 0x1c),
        (0x6d, 0x28, 0xd9),
        (0x0f, 0x76, 0x6e),
        (0xa1, 0x62, 0x07),
        (0x9d, 0x17, 0x4d),
        (0x1d, 0x4e, 0xd8),
        (0x4d, 0x7c, 0x0f),
    ],
    [
        (0xf9, 0xfa, 0xfb),
        (0xfc, 0xa5, 0xa5),
        (0xc4, 0xb5, 0xfd),
        (0x5e, 0xea, 0xd4),
        (0xfd, 0xe0, 0x47),
        (0xf9, 0xa8, 0xd4),
        (0x93, 0xc5, 0xfd),
        (0xbe, 0xf2, 0x64),
    ],
];

fn colour((red, green, blue): (u8, u8, u8)) -> RGBColor {
    RGBColor(red, green, blue)
}

/// Live memory, stacked by what says most, and what each stack reserved.
pub(crate) fn svg(report: &Report, theme: Theme) -> Result<String, BoxedError> {
    let mut text = String::new();
    draw(report, theme, &mut text).map_err(|error| BoxedError::from(error.to_string()))?;
    Ok(text)
}

fn draw(report: &Report, theme: Theme, text: &mut String) -> Result<(), Box<dyn Error>> {
    let (paper, ink, faint) = match theme {
        Theme::Light => (RGBColor(255, 255, 255), RGBColor(31, 41, 55), RGBColor(229, 231, 235)),
        Theme::Dark => (RGBColor(13, 17, 23), RGBColor(209, 213, 219), RGBColor(48, 54, 61)),
    };
    let timeline = &report.timeline;
    let columns = Columns::of(timeline.buckets.count());
    let layers = columns.layers(&timeline.groupings[timeline.telling()], &timeline.most);
    let reserved: Vec<_> = report
        .stacks
        .iter()
        .map(|stack| stack.series.reserved.as_ref().map_or_else(Vec::new, |it| columns.most(it)))
        .collect();
    let top = reserved.iter().flatten().chain(layers.iter().flat_map(|layer| &layer.tops));
    let top = top.copied().max().unwrap_or(0).max(1);
    let (unit, name) = axis_unit(top);
    let scaled = |bytes: u64| crate::bytes::ratio(bytes, unit);

    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&paper)?;
    let (plot, legend) = root.split_horizontally(SIZE.0 - 230);
    let font = |size: u32| ("sans-serif", size).into_font().color(&ink);
    let events = timeline.buckets.events();
    let mut chart = ChartBuilder::on(&plot)
        .margin(14)
        .x_label_area_size(38)
        .y_label_area_size(58)
        .build_cartesian_2d(0..events.max(1), 0.0..scaled(top) * 1.05)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(faint)
        .light_line_style(TRANSPARENT)
        .axis_style(faint)
        .x_labels(6)
        .y_labels(6)
        .x_desc("events of the trace")
        .y_desc(name)
        .x_label_formatter(&|event| grouped(*event))
        .y_label_formatter(&|value| format!("{value:.1}"))
        .label_style(font(13))
        .axis_desc_style(font(13))
        .draw()?;
    for layer in layers.iter().rev() {
        let points = layer.tops.iter().enumerate();
        let points = points.map(|(x, &bytes)| (columns.event(x, events), scaled(bytes)));
        let fill = colour(GROUPS[layer.group % GROUPS.len()]);
        chart.draw_series(AreaSeries::new(points, 0.0, fill.filled()))?;
    }
    let lines = STACKS[usize::from(theme == Theme::Dark)];
    // The first stack is the one that is asked about: on top.
    for (at, (stack, series)) in report.stacks.iter().zip(&reserved).enumerate().rev() {
        let until = stack.refusal.as_ref().map_or(events, |refusal| refusal.index + 1);
        let points = series.iter().enumerate();
        let points = points.map(|(x, &bytes)| (columns.event(x, events), scaled(bytes)));
        let points = points.take_while(|&(event, _)| event < until);
        let line = colour(lines[at % lines.len()]);
        chart.draw_series(LineSeries::new(points, line.stroke_width(2)))?;
    }
    let mut y = 16;
    for (at, stack) in report.stacks.iter().enumerate() {
        let line = colour(lines[at % lines.len()]);
        legend.draw(&PathElement::new(vec![(2, y + 6), (18, y + 6)], line.stroke_width(2)))?;
        let held = stack.figures.peak_reserved.map_or_else(|| "not known".to_owned(), shown);
        let words = format!("{} reserved, {held}", stack.name);
        legend.draw(&Text::new(words, (24, y), font(13)))?;
        y += 20;
    }
    legend.draw(&Text::new(
        format!("live, {}", shown(timeline.peak.live)),
        (2, y + 4),
        font(13),
    ))?;
    y += 24;
    for layer in layers.iter().rev() {
        let fill = colour(GROUPS[layer.group % GROUPS.len()]);
        legend.draw(&Rectangle::new([(2, y), (14, y + 12)], fill.filled()))?;
        legend.draw(&Text::new(cut(&layer.name), (20, y), font(13)))?;
        y += 18;
    }
    root.present()?;
    Ok(())
}

fn shown(bytes: u64) -> String {
    crate::bytes::show(bytes)
}

/// What fits beside the plot.
fn cut(name: &str) -> String {
    const MOST: usize = 30;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    let tail: Vec<_> = name.chars().rev().take(MOST - 1).collect();
    std::iter::once('…').chain(tail.into_iter().rev()).collect()
}

/// A number with its thousands apart.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn axis_unit(top: u64) -> (u64, &'static str) {
    [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        .into_iter()
        .find(|&(unit, _)| top >= 2 * unit)
        .unwrap_or((1, "B"))
}

/// The buckets of a trace in columns of the picture.
struct Columns {
    count: usize,
    buckets: usize,
}

/// The upper edge of a group's layer.
struct Layer {
    group: usize,
    name: String,
    tops: Vec<u64>,
}

impl Columns {
    fn of(buckets: usize) -> Self {
        Self { count: buckets.min(COLUMNS), buckets }
    }

    fn buckets(&self, column: usize) -> std::ops::Range<usize> {
        let start = column * self.buckets / self.count;
        start..((column + 1) * self.buckets / self.count).max(start + 1)
    }

    fn event(&self, column: usize, events: usize) -> usize {
        column * events / self.count
    }

    fn most(&self, series: &[u64]) -> Vec<u64> {
        let most = |column| series[self.buckets(column)].iter().copied().max().unwrap_or(0);
        (0..self.count).map(most).collect()
    }

    /// The layers, lowest first, without those that nothing is in; each column as it is when most is
    /// live.
    fn layers(&self, grouping: &Grouping, most: &[u64]) -> Vec<Layer> {
        let groups = grouping.names.len();
        let mut layers: Vec<_> = grouping
            .names
            .iter()
            .enumerate()
            .map(|(group, name)| Layer {
                group,
                name: name.clone(),
                tops: Vec::with_capacity(self.count),
            })
            .collect();
        for column in 0..self.count {
            let bucket = self.buckets(column).max_by_key(|&bucket| most[bucket]).unwrap_or(0);
            let mut top = 0;
            for (layer, bytes) in layers.iter_mut().zip(&grouping.bytes[bucket * groups..]) {
                top += bytes;
                layer.tops.push(top);
            }
        }
        let mut below = vec![0; self.count];
        layers.retain(|layer| {
            let empty = layer.tops == below;
            below.clone_from(&layer.tops);
            !empty
        });
        layers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart_and_long_names_keep_their_end() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(12), "12");
        let name = cut("a/very/long/path/to/some/file.py:123 in function");
        assert!(name.starts_with('…') && name.ends_with("in function"));
        assert_eq!(name.chars().count(), 30);
    }

    #[test]
    fn a_page_has_the_colours_of_a_picture_and_a_line_of_each() {
        let style = include_str!("page/assets/page.css");
        for (at, ((red, green, blue), dark)) in STACKS[0].into_iter().zip(STACKS[1]).enumerate() {
            let light = format!("--stack-{at}: #{red:02x}{green:02x}{blue:02x};");
            assert_eq!(style.matches(&light).count(), 1, "{light}");
            let (red, green, blue) = dark;
            let dark = format!("--stack-{at}: #{red:02x}{green:02x}{blue:02x};");
            assert_eq!(style.matches(&dark).count(), 2, "{dark}");
            assert!(style.contains(&format!(".line-{at} {{ background: var(--stack-{at}); }}")));
        }
        for (at, (red, green, blue)) in GROUPS.into_iter().enumerate() {
            assert!(style.contains(&format!("--group-{at}: #{red:02x}{green:02x}{blue:02x};")));
        }
    }

    #[test]
    fn every_bucket_is_in_a_column() {
        let columns = Columns::of(8191);
        let all: Vec<_> = (0..columns.count).flat_map(|column| columns.buckets(column)).collect();
        assert_eq!(all, (0..8191).collect::<Vec<_>>());
    }
}
