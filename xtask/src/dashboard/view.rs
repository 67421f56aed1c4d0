//! How the dashboard looks: title, bars, two curves, figures, the last evaluations, the last messages.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, LineGauge, Paragraph};

use super::board::{Board, Phase};
use super::curve::Curve;
use crate::output::{duration, mebibytes, thousands};
use crate::progress::{clock, head};

const TRAIN: Color = Color::Cyan;
const EVAL: Color = Color::Yellow;
const QUIET: Style = Style::new().fg(Color::DarkGray);

/// Below this there is no room for all of it.
pub(super) const LEAST: (u16, u16) = (60, 16);

/// Draws the board on all of the terminal.
pub(super) fn draw(frame: &mut Frame<'_>, board: &Board) {
    let area = frame.area();
    if (area.width, area.height) < (20, 3) || area.height < 3 {
        return;
    }
    // Half of what is left for the curves, the rest for rows of evaluations; both give way on a small terminal.
    let curves = (area.height.saturating_sub(6) / 2).max(6);
    let [title, epoch, run, charts, figures, rows, messages] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(curves),
        Constraint::Length(3),
        Constraint::Fill(1),
        Constraint::Length(2),
    ])
    .areas(area.inner(ratatui::layout::Margin { horizontal: 1, vertical: 0 }));
    draw_title(frame, title, board);
    draw_bars(frame, [epoch, run], board);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).spacing(2).areas(charts);
    draw_loss(frame, left, board);
    draw_measure(frame, right, board);
    draw_figures(frame, figures, board);
    draw_rows(frame, rows, board);
    draw_messages(frame, messages, board);
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let memory = board.memory.map_or(String::new(), |bytes| format!("{}   ", mebibytes(bytes)));
    let time = duration(board.elapsed().as_secs_f64());
    let place = vec![Span::styled(format!("{}   {memory}", board.place), QUIET), Span::raw(time)];
    frame.render_widget(Line::from(board.title.clone().bold()), area);
    frame.render_widget(Line::from(place).right_aligned(), area);
}

fn draw_bars(frame: &mut Frame<'_>, [epoch, run]: [Rect; 2], board: &Board) {
    let scope = &board.scope;
    let (batch, done) = board.step.map_or((0, 0.0), |step| (step.batch, scope.place(step.epoch, step.batch)));
    let of_epoch = batch as f64 / scope.batches.max(1) as f64;
    let (ratio, colour, tells) = match board.phase {
        Phase::Training => {
            (of_epoch, TRAIN, format!("batch {} of {}", thousands(batch), thousands(scope.batches)))
        }
        Phase::Evaluating(batch, batches) => {
            let ratio = batch as f64 / batches.max(1) as f64;
            (ratio, EVAL, format!("{} part, {:.0} %", scope.part, 100.0 * ratio))
        }
    };
    let left = board.step.map_or(String::new(), |step| format!("{} left", clock(scope.seconds_left(&step))));
    let names = [format!("epoch {}/{}", board.epoch.max(1), scope.epochs), "run".to_owned()];
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let run_ratio = done / scope.epochs.max(1) as f64;
    let rows = [(epoch, ratio, colour, tells), (run, run_ratio, Color::Blue, left)];
    for ((area, ratio, colour, tells), name) in rows.into_iter().zip(names) {
        let [bar, text] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(26)]).areas(area);
        let gauge = LineGauge::default()
            .ratio(if ratio.is_finite() { ratio.clamp(0.0, 1.0) } else { 0.0 })
            .label(format!("{name:<width$} "))
            .filled_symbol("━")
            .unfilled_symbol("─")
            .filled_style(Style::new().fg(colour))
            .unfilled_style(QUIET);
        frame.render_widget(gauge, Rect { height: bar.height.min(1), ..bar });
        frame.render_widget(Line::from(tells).right_aligned(), Rect { height: text.height.min(1), ..text });
    }
}

fn draw_loss(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let train = board.step.map(|step| format!("{:.4}", step.so_far.loss));
    let eval = board.eval_loss.points().last().map(|(_, loss)| format!("{loss:.4}"));
    let heading = Heading { name: "loss", values: [train, eval] };
    draw_curves(frame, area, heading, [&board.loss, &board.eval_loss], |v| format!("{v:.3}"), board);
}

/// The measure that decides; without one the learning rate.
fn draw_measure(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let Some(measure) = board.measure else {
        let heading = Heading { name: "learning rate", values: [None, None] };
        let curves = [&board.rate, &Curve::default()];
        return draw_curves(frame, area, heading, curves, |v| format!("{v:.1e}"), board);
    };
    let curves = [&board.value, &board.eval_value];
    let values = curves.map(|curve| curve.points().last().map(|(_, value)| measure.text(*value)));
    let heading = Heading { name: measure.title(), values };
    draw_curves(frame, area, heading, curves, |v| measure.text(v), board);
}

/// What stands above curves: their name, and the newest value in training and in evaluation.
struct Heading {
    name: &'static str,
    values: [Option<String>; 2],
}

/// Training as a line, evaluations as another, over the epochs so far.
fn draw_curves(
    frame: &mut Frame<'_>,
    area: Rect,
    heading: Heading,
    [train, eval]: [&Curve; 2],
    label: impl Fn(f64) -> String,
    board: &Board,
) {
    let [head, area] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let part = &board.scope.part[..board.scope.part.len().min(5)];
    let values = |names: [&str; 2]| {
        let pairs = heading.values.iter().zip(names).zip([TRAIN, EVAL]);
        let spans = pairs.filter_map(|((value, name), colour)| {
            Some(Span::styled(format!(" {name}{}", value.as_ref()?), colour))
        });
        Line::from(spans.collect::<Vec<_>>()).right_aligned()
    };
    let named = values(["train ", &format!("{part} ")]);
    let fits = heading.name.len() + named.width() <= usize::from(head.width);
    frame.render_widget(Line::from(heading.name.bold()), head);
    frame.render_widget(if fits { named } else { values(["", ""]) }, head);
    let Some(([left, right], [low, high])) = bounds(train, eval) else {
        return frame.render_widget(Paragraph::new("\nnothing yet").style(QUIET).centered(), area);
    };
    let set = |points, colour| {
        let line = Dataset::default().data(points).marker(Marker::Braille).graph_type(GraphType::Line);
        line.style(Style::new().fg(colour))
    };
    let middle = (area.height >= 5).then(|| label((low + high) / 2.0));
    let labels: Vec<String> = [Some(label(low)), middle, Some(label(high))].into_iter().flatten().collect();
    let epochs = if right < 10.0 { format!("{right:.1} epochs") } else { format!("{right:.0} epochs") };
    let x_axis = Axis::default().bounds([left, right]).style(QUIET).labels([format!("{left:.1}"), epochs]);
    let y_axis = Axis::default().bounds([low, high]).style(QUIET).labels(labels);
    let sets = vec![set(train.points(), TRAIN), set(eval.points(), EVAL)];
    frame.render_widget(Chart::new(sets).legend_position(None).x_axis(x_axis).y_axis(y_axis), area);
}

/// From where to where both curves go, with some room; where they begin is left out, lest it flatten what comes after.
fn bounds(train: &Curve, eval: &Curve) -> Option<([f64; 2], [f64; 2])> {
    let all = || train.points().iter().chain(eval.points()).copied();
    let right = all().map(|(x, _)| x).reduce(f64::max)?.max(1e-9);
    let left = all().map(|(x, _)| x).reduce(f64::min)?.min(right * 0.999);
    let begin = if train.points().len() > 40 { left + 0.05 * (right - left) } else { left };
    let later = || all().filter(|(x, _)| *x >= begin).map(|(_, y)| y);
    let (low, high) = (later().reduce(f64::min)?, later().reduce(f64::max)?);
    let room = ((high - low) * 0.05).max(high.abs() * 1e-3).max(1e-9);
    let bottom = if low >= 0.0 { (low - room).max(0.0) } else { low - room };
    // A share has nothing above 1.
    let top = if high <= 1.0 { (high + room).min(1.0) } else { high + room };
    Some(([left, right], [bottom, top.max(bottom + 1e-9)]))
}

fn draw_figures(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let Some(step) = &board.step else { return };
    let mut pairs = vec![
        ("step", thousands(step.step)),
        ("rate", format!("{:.3e}", step.lr)),
        ("speed", format!("{} {}/s", thousands(step.examples_per_second as u64), board.scope.noun)),
    ];
    pairs.extend(step.grad_norm.map(|norm| ("gradient", format!("{norm:.3}"))));
    let mut spans = Vec::new();
    for (name, value) in pairs {
        spans.push(Span::styled(format!("{name} "), QUIET));
        spans.push(Span::raw(format!("{value}   ")));
    }
    frame.render_widget(
        Line::from(spans),
        Rect { y: area.y + 1, height: area.height.saturating_sub(1).min(1), ..area },
    );
}

fn draw_rows(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let room = usize::from(area.height.saturating_sub(1));
    let text = |line: &str| line.strip_prefix("  ").unwrap_or(line).to_owned();
    let heading = Line::styled(text(&head(&board.scope)), QUIET);
    let rows = board.rows.iter().skip(board.rows.len().saturating_sub(room)).map(|(row, best)| {
        let style = if *best { Style::new().fg(Color::Green) } else { Style::new() };
        Line::styled(text(row), style)
    });
    frame.render_widget(Paragraph::new([heading].into_iter().chain(rows).collect::<Vec<_>>()), area);
}

fn draw_messages(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let [list, foot] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    let room = usize::from(list.height);
    let skipped = board.messages.len().saturating_sub(room);
    let lines = board.messages.iter().skip(skipped).map(|message| Line::styled(message.as_str(), QUIET));
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), list);
    let keys = Line::from(vec!["Ctrl-C".bold(), Span::styled(" finishes the step and saves", QUIET)]);
    frame.render_widget(keys, foot);
}

#[cfg(test)]
mod tests {
    use nn_train::event::{Epoch, Step};
    use nn_train::{Event, Figures, Measure};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::progress::Scope;

    const SCOPE: Scope = Scope { epochs: 4, examples: 1000, batches: 10, noun: "images", part: "validation" };

    fn step(n: u64) -> Event {
        let share = 1.0 / (1.0 + n as f64 / 5.0);
        Event::Step(Step {
            step: n,
            epoch: (n - 1) / 10 + 1,
            batch: (n - 1) % 10 + 1,
            loss: 2.3 * share,
            lr: 0.01,
            momentum: None,
            grad_norm: Some(1.5),
            so_far: Figures::new(2.3 * share).with(Measure::Accuracy, 1.0 - 0.9 * share),
            examples_per_second: 500.0,
        })
    }

    fn epoch(epoch: u64) -> Event {
        let figures = |loss| Figures::new(loss).with(Measure::Accuracy, 1.0 - loss / 3.0);
        Event::Epoch(Epoch {
            epoch,
            step: epoch * 10,
            lr: 0.01,
            train: figures(1.0 / epoch as f64),
            eval: figures(1.25 / epoch as f64),
            ema: None,
            best: true,
            seconds: 2.0 * epoch as f64,
            examples_per_second: 500.0,
            confusion: None,
        })
    }

    fn board(steps: u64) -> Board {
        let mut board = Board::new(SCOPE, "lenet5 on digits".to_owned(), "runs/lenet5-digits".to_owned());
        for n in 1..=steps {
            board.hear(&Event::EpochStarted { epoch: (n - 1) / 10 + 1, batches_done: 0, batches: 10 });
            board.hear(&step(n));
            if n % 10 == 0 {
                board.hear(&epoch(n / 10));
                board.hear(&Event::Checkpointed { step: n });
            }
        }
        board
    }

    fn drawn(board: &Board, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a backend in memory");
        terminal.draw(|frame| draw(frame, board)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let row = |row: &[ratatui::buffer::Cell]| row.iter().map(|cell| cell.symbol()).collect::<String>();
        buffer.content().chunks(usize::from(width)).map(row).collect::<Vec<_>>().join("\n")
    }

    #[track_caller]
    fn holds(screen: &str, parts: &[&str]) {
        for part in parts {
            assert!(screen.contains(part), "{part:?} is not in\n{screen}");
        }
    }

    #[test]
    fn all_there_is_to_see_fits_a_small_terminal() {
        let mut board = board(25);
        board.memory = Some(200 << 20);
        let screen = drawn(&board, 80, 24);
        holds(
            &screen,
            &["lenet5 on digits", "runs/lenet5-digits", "epoch 3/4", "batch 5 of 10", "0:03 left"],
        );
        holds(&screen, &["loss", "train 0.3833 valid 0.6250", "train 85.00 % valid 79.17 %", "━"]);
        holds(&screen, &["accuracy", "2.5 epochs"]);
        assert!(screen.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "no curve:\n{screen}");
        holds(&screen, &["step 25", "rate 1.000e-2", "speed 500 images/s", "gradient 1.500"]);
        holds(&screen, &["200.0 MiB", "valid loss", "  2      0.5000   83.33 %"]);
        holds(&screen, &["saved after step 20", "Ctrl-C finishes the step and saves"]);
        assert!(!screen.contains("saved after step 10"), "the last is the one that counts:\n{screen}");
        board.hear(&Event::Evaluating { batch: 1, batches: 4 });
        board.say("rank and file".to_owned());
        holds(&drawn(&board, 80, 24), &["validation part, 25 %", "rank and file"]);
    }

    #[test]
    fn a_run_that_has_not_begun_and_one_without_measures_are_drawn() {
        holds(&drawn(&board(0), 80, 24), &["nothing yet", "epoch 1/4"]);
        let mut plain = board(0);
        let Event::Step(step) = step(1) else { unreachable!("a step") };
        plain.hear(&Event::Step(Step { so_far: Figures::new(f64::NAN), loss: f64::NAN, ..step }));
        holds(&drawn(&plain, 80, 24), &["learning rate", "NaN"]);
    }

    #[test]
    fn every_size_is_drawn() {
        let board = board(35);
        for (width, height) in
            [(1, 1), (19, 3), (20, 3), (30, 8), (60, 16), (80, 24), (81, 25), (132, 43), (300, 90)]
        {
            let screen = drawn(&board, width, height);
            assert_eq!(screen.lines().count(), usize::from(height));
        }
        holds(&drawn(&board, 60, 16), &["lenet5", "batch 5 of 10", "step 35", "Ctrl-C"]);
        // What is behind the terminal's edge is the oldest.
        holds(&drawn(&board, 132, 43), &["  1      1.0000", "  3      0.3333"]);
    }
}
