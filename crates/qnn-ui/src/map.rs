//! The bit-width map: networks like the chosen one at every pair of bits of weights and activations, trained one after the
//! other in the background, by an engine of their own on one thread. A cell's network can join the race.

use qnn_protocol::spec::NetworkSpec;
use qnn_protocol::{Drawing, FromEngine, ToEngine};
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;

use crate::app::Message;
use crate::engine::{Checkpoint, Engine, Report, Said};
use crate::format;
use crate::keep;
use crate::language::{text, translated};
use crate::race::{self, BITS};
use crate::source::Source;

const CELLS: usize = BITS.len() * BITS.len();
/// Steps that each network trains: with batches of 100, an epoch of MNIST.
const STEPS: u32 = 600;

#[derive(Clone, PartialEq, Properties)]
pub struct MapProperties {
    /// What all networks of the map are like, but for their bits.
    pub spec: NetworkSpec,
    pub source: Source,
    /// What the visitor has drawn, to be learned too.
    pub drawings: Vec<Drawing>,
    pub dispatch: Callback<Message>,
}

/// What the cells are of: with another spec, or on other data, they are begun anew.
#[derive(Clone, PartialEq)]
struct Of {
    spec: NetworkSpec,
    source: Source,
    drawings: Vec<Drawing>,
}

impl Of {
    fn props(properties: &MapProperties) -> Of {
        Of {
            spec: base(&properties.spec),
            source: properties.source.clone(),
            drawings: properties.drawings.clone(),
        }
    }
}

pub enum MapMessage {
    Toggle,
    Engine(Report),
    /// A cell's network is to join the race.
    Join(usize),
}

pub struct Map {
    engine: Option<Engine>,
    /// `None` before the first cell.
    of: Option<Of>,
    cells: [Option<f32>; CELLS],
    /// The cell that trains, and its steps so far.
    running: Option<(usize, u32)>,
    problem: Option<AttrValue>,
}

impl Component for Map {
    type Message = MapMessage;
    type Properties = MapProperties;

    fn create(_: &Context<Self>) -> Self {
        Map {
            engine: None,
            of: None,
            cells: [None; CELLS],
            running: None,
            problem: None,
        }
    }

    fn update(&mut self, context: &Context<Self>, message: MapMessage) -> bool {
        match message {
            MapMessage::Toggle if self.engine.is_some() => {
                self.engine = None;
                self.running = None;
            }
            MapMessage::Toggle => self.begin(context),
            MapMessage::Engine(Report::Said(all)) => {
                for said in all {
                    match said {
                        Said::Message(message) => self.hear(message),
                        Said::Checkpoint(_, checkpoint) => self.keep(checkpoint),
                    }
                }
            }
            MapMessage::Engine(Report::Died(reason)) => {
                self.engine = None;
                self.running = None;
                self.problem = Some(text!("map.stopped", reason = reason));
            }
            MapMessage::Join(cell) => self.join(context, cell),
        }
        true
    }

    fn view(&self, context: &Context<Self>) -> Html {
        let link = context.link();
        let (trains, done) = (self.engine.is_some(), self.cells.iter().flatten().count());
        let best = self.cells.iter().flatten().copied().fold(0.0, f32::max);
        let is_outdated = self
            .of
            .as_ref()
            .is_some_and(|of| *of != Of::props(context.props()));
        html! {
            <div class="map">
                <p class="hint">{ text!("map.about", steps = STEPS) }</p>
                <button id="map-run" type="button" onclick={link.callback(|_| MapMessage::Toggle)}>
                    { if trains { text!("map.stop") } else if done == 0 || is_outdated { text!("map.start") } else { text!("map.go_on") } }
                </button>
                <p class="hint" role="status">
                    { text!("map.done", done = done, cells = CELLS) }
                    if is_outdated {
                        { " " }{ text!("map.outdated") }
                    }
                    if let Some(problem) = &self.problem {
                        { " " }{ problem }
                    }
                </p>
                <div class="scrolled" tabindex="0" role="region" aria-label={text!("map.label")}>
                    <table id="map">
                        <caption>{ text!("map.caption") }</caption>
                        <thead>
                            <tr>
                                <th scope="col">{ text!("map.corner") }</th>
                                { for BITS.iter().map(|bits| html! { <th scope="col">{ text!("map.activation", bits = bits) }</th> }) }
                            </tr>
                        </thead>
                        <tbody>
                            { for BITS.iter().enumerate().map(|(row, bits)| html! {
                                <tr key={*bits}>
                                    <th scope="row">{ text!("map.weight", bits = bits) }</th>
                                    { for (0..BITS.len()).map(|column| self.view_cell(context, row * BITS.len() + column, best)) }
                                </tr>
                            }) }
                        </tbody>
                    </table>
                </div>
            </div>
        }
    }
}

impl Map {
    fn view_cell(&self, context: &Context<Self>, cell: usize, best: f32) -> Html {
        let (weights, activations) = bits_of(cell);
        if let Some(accuracy) = self.cells[cell] {
            let label = text!(
                "map.join",
                weights = weights,
                activations = activations,
                percent = format::percent(accuracy)
            );
            // How far it is from the best, in twentieths of all images: 5 % worse is as pale as it gets.
            let share = (1.0 - 20.0 * (best - accuracy)).clamp(0.0, 1.0);
            return html! {
                <td style={format!("--share:{:.0}%", 100.0 * share)}>
                    <button
                        type="button"
                        aria-label={label.clone()}
                        title={label}
                        onclick={context.link().callback(move |_| MapMessage::Join(cell))}
                    >
                        { format::percent(accuracy) }
                    </button>
                </td>
            };
        }
        match self.running {
            Some((running, steps)) if running == cell => html! {
                <td>
                    <progress
                        max={STEPS.to_string()}
                        value={steps.to_string()}
                        aria-label={text!("map.training", weights = weights, activations = activations)}
                    />
                </td>
            },
            _ => html! { <td>{ "–" }</td> },
        }
    }

    fn begin(&mut self, context: &Context<Self>) {
        let of = Of::props(context.props());
        if self.of.as_ref() != Some(&of) {
            self.cells = [None; CELLS];
            self.of = Some(of);
        }
        let report = context.link().callback(MapMessage::Engine);
        match Engine::start("worker.js?build=single", report) {
            Ok(engine) => {
                self.engine = Some(engine);
                self.problem = None;
            }
            Err(error) => self.problem = Some(text!("engine.cannot_start", error = error)),
        }
    }

    fn hear(&mut self, message: FromEngine) {
        match message {
            FromEngine::Ready { .. } => {
                self.next();
                self.use_data();
                self.tell(&ToEngine::Train);
            }
            FromEngine::Progress { steps, .. } => {
                if let (Some((_, trained)), Some(last)) = (&mut self.running, steps.last()) {
                    *trained = last.step;
                }
            }
            FromEngine::Evaluated { step, accuracy, .. } if step >= STEPS => {
                if let Some((cell, _)) = self.running {
                    self.cells[cell] = Some(accuracy);
                }
            }
            FromEngine::Refused { message } | FromEngine::SpecRefused { message, .. } => {
                self.engine = None;
                self.running = None;
                self.problem = Some(translated(&message));
            }
            _ => {}
        }
    }

    /// Keeps the checkpoint of a network that is done, and goes on with the next one.
    fn keep(&mut self, checkpoint: Checkpoint) {
        let Some((cell, _)) = self.running.filter(|(cell, _)| self.cells[*cell].is_some()) else {
            return;
        };
        spawn_local(async move {
            // Where nothing can be kept, the network begins anew when it joins the race.
            let _ = keep::save(&name(cell), &checkpoint.0).await;
        });
        self.next();
    }

    /// Trains the next network, if there is one.
    fn next(&mut self) {
        let cell = order().find(|cell| self.cells[*cell].is_none());
        self.running = cell.map(|cell| (cell, 0));
        match (cell, &self.of) {
            (Some(cell), Some(of)) => {
                self.tell(&ToEngine::Configure {
                    network: 0,
                    spec: at_bits(&of.spec, cell),
                });
                self.tell(&ToEngine::Reset);
            }
            _ => self.engine = None,
        }
    }

    fn use_data(&mut self) {
        let (Some(engine), Some(of)) = (&self.engine, &self.of) else {
            return;
        };
        let drawings = of.drawings.clone();
        let told = engine
            .send(&ToEngine::UseDrawings { drawings })
            .and_then(|()| engine.use_data(&of.source));
        if let Err(error) = told {
            self.problem = Some(text!("engine.not_told", error = error));
        }
    }

    fn tell(&mut self, message: &ToEngine) {
        if let Some(engine) = &self.engine
            && let Err(error) = engine.send(message)
        {
            self.problem = Some(text!("engine.not_told", error = error));
        }
    }

    fn join(&self, context: &Context<Self>, cell: usize) {
        let Some(of) = &self.of else { return };
        let (spec, dispatch) = (at_bits(&of.spec, cell), context.props().dispatch.clone());
        spawn_local(async move {
            let checkpoint = keep::load(&name(cell)).await.ok().flatten();
            dispatch.emit(Message::Join(spec, checkpoint.map(Checkpoint)));
        });
    }
}

/// What a spec has in common with those of all cells.
fn base(spec: &NetworkSpec) -> NetworkSpec {
    race::at_bits(spec, 1, 1)
}

fn at_bits(spec: &NetworkSpec, cell: usize) -> NetworkSpec {
    let (weights, activations) = bits_of(cell);
    race::at_bits(spec, weights, activations)
}

/// The bits of weights and activations of a cell.
fn bits_of(cell: usize) -> (u8, u8) {
    (BITS[cell / BITS.len()], BITS[cell % BITS.len()])
}

/// The cells in the order in which they are trained: first where both have the same bits.
fn order() -> impl Iterator<Item = usize> {
    let is_even = |cell: &usize| bits_of(*cell).0 == bits_of(*cell).1;
    (0..CELLS)
        .filter(is_even)
        .chain((0..CELLS).filter(move |cell| !is_even(cell)))
}

/// What the checkpoint of a cell is kept by.
fn name(cell: usize) -> String {
    let (weights, activations) = bits_of(cell);
    format!("map-w{weights}-a{activations}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_trained_once_and_the_diagonal_first() {
        let mut cells: Vec<usize> = order().collect();
        assert_eq!(cells[..5], [0, 6, 12, 18, 24]);
        cells.sort_unstable();
        assert_eq!(cells, (0..CELLS).collect::<Vec<_>>());
    }

    #[test]
    fn cells_differ_from_the_base_by_their_bits_alone() {
        let spec = NetworkSpec::default();
        for cell in 0..CELLS {
            let cell_spec = at_bits(&spec, cell);
            assert_eq!(cell_spec.weight_bits.get(), bits_of(cell).0);
            assert_eq!(base(&cell_spec), base(&spec));
            assert_eq!(cell_spec.validate(), Ok(()));
        }
    }
}
