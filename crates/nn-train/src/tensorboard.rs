//! A run's figures as TensorBoard reads them: an event file of scalars.
//!
//! Source: TensorFlow's `core/lib/io/record_writer.h` for the records (length, masked CRC-32C of the length, data, masked
//! CRC-32C of the data), `core/util/event.proto` and `core/framework/summary.proto` for what is in them.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::{Epoch, Evaluated, Event, Step};
use crate::metrics::Figures;

/// Turns a run's events into records.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Board {
    /// The last step that was heard of.
    step: u64,
}

impl Board {
    /// What an event file begins with.
    pub(crate) fn begin(wall_time: f64) -> Vec<u8> {
        let mut event = Message::default();
        event.double(1, wall_time);
        event.bytes(3, b"brain.Event:2");
        record(&event.0)
    }

    /// The record of an event; empty for events without figures.
    pub(crate) fn record(&mut self, event: &Event, wall_time: f64) -> Vec<u8> {
        let scalars = self.scalars(event);
        if scalars.is_empty() {
            return Vec::new();
        }
        let mut summary = Message::default();
        for (tag, number) in scalars {
            let mut value = Message::default();
            value.bytes(1, tag.as_bytes());
            value.float(2, number as f32);
            summary.bytes(1, &value.0);
        }
        let mut event = Message::default();
        event.double(1, wall_time);
        event.integer(2, self.step);
        event.bytes(5, &summary.0);
        record(&event.0)
    }

    fn scalars(&mut self, event: &Event) -> Vec<(String, f64)> {
        match event {
            Event::Step(Step { step, loss, lr, momentum, grad_norm, examples_per_second, .. }) => {
                self.step = *step;
                let mut scalars = vec![("step/loss", *loss), ("step/learning_rate", *lr)];
                scalars.extend(momentum.map(|momentum| ("step/momentum", momentum)));
                scalars.extend(grad_norm.map(|norm| ("step/gradient_norm", norm)));
                scalars.push(("step/examples_per_second", *examples_per_second));
                scalars.into_iter().map(|(tag, value)| (tag.to_owned(), value)).collect()
            }
            Event::Evaluated(Evaluated { step, eval, ema, .. }) => {
                self.step = *step;
                [tagged("evaluation", Some(eval)), tagged("running_mean", ema.as_ref())].concat()
            }
            Event::Epoch(Epoch { step, train, eval, ema, .. }) => {
                self.step = *step;
                let [train, eval] = [tagged("training", Some(train)), tagged("evaluation", Some(eval))];
                [train, eval, tagged("running_mean", ema.as_ref())].concat()
            }
            Event::Finished { steps, .. } => {
                self.step = *steps;
                Vec::new()
            }
            Event::Tested { test, ema } => {
                [tagged("test", Some(test)), tagged("test_running_mean", ema.as_ref())].concat()
            }
            _ => Vec::new(),
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// `evaluation/loss`, `evaluation/accuracy`, …
fn tagged(of: &str, figures: Option<&Figures>) -> Vec<(String, f64)> {
    let Some(figures) = figures else { return Vec::new() };
    let measures = figures.measures().map(|(measure, value)| (measure.key(), value));
    std::iter::once(("loss", figures.loss))
        .chain(measures)
        .map(|(key, value)| (format!("{of}/{key}"), value))
        .collect()
}

/// A message in the wire format of Protocol Buffers.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn integer(&mut self, field: u8, value: u64) {
        self.0.push(field << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u8, value: f64) {
        self.0.push(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u8, value: &[u8]) {
        self.0.push(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u8, value: f32) {
        self.0.push(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    /// Seven bits a byte, the lowest first; all but the last have the eighth set.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let sum = |bytes: &[u8]| masked(crc32c(bytes)).to_le_bytes();
    [&length[..], &sum(&length), data, &sum(data)].concat()
}

/// So that the checksum of data that holds its own checksum is worth something.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Castagnoli's polynomial, bits in reverse.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// A bit at a time: a few hundred bytes are written a second.
fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _: u32| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), shift))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Measure;
    use crate::summary::Ended;

    /// The check value of the catalogue of parametrised CRC algorithms.
    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn numbers_are_written_seven_bits_at_a_time() {
        let written = |value| {
            let mut message = Message::default();
            message.varint(value);
            message.0
        };
        assert_eq!(written(1), [1]);
        assert_eq!(written(300), [0xac, 2]);
        assert_eq!(written(u64::MAX).len(), 10);
    }

    /// The bytes of TensorBoard's own writer: `tests/golden/tensorboard.py`.
    #[test]
    fn the_file_is_the_one_that_tensorboard_writes() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/tensorboard.json");
        let golden: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(golden).expect("golden data")).expect("JSON");
        let figures = |loss, accuracy| Figures::new(loss).with(Measure::Accuracy, accuracy);
        let (train, eval, ema) = (figures(0.75, 0.5), figures(0.5, 0.625), Some(figures(0.25, 0.875)));
        let step = Step {
            step: 300,
            epoch: 1,
            batch: 300,
            loss: 1.5,
            lr: 0.125,
            momentum: None,
            grad_norm: Some(3.0),
            so_far: train,
            examples_per_second: 1000.0,
        };
        let epoch = Epoch {
            epoch: 1,
            step: 400,
            lr: 0.125,
            train,
            eval,
            ema,
            best: true,
            seconds: 1.0,
            examples_per_second: 1000.0,
            confusion: None,
        };
        let within = Evaluated { epoch: 1, step: 350, batch: 350, eval, ema: None, best: true, seconds: 1.0 };
        let events = [
            Event::Step(step),
            Event::Evaluated(within),
            Event::Checkpointed { step: 350 },
            Event::Epoch(epoch),
            Event::Finished { steps: 400, seconds: 1.0, ended: Ended::Finished },
            Event::Tested { test: figures(0.5, 0.75), ema: None },
        ];
        let mut board = Board::default();
        let mut bytes = Board::begin(1.5e9);
        for (event, seconds) in events.iter().zip(0..) {
            bytes.extend(board.record(event, 1.5e9 + f64::from(seconds)));
        }
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(golden["file"], hex);
    }
}
