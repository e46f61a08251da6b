//! The table of the race: every network with its accuracy, speed, size and energy, live. Here one is chosen, added or taken
//! out.

use qnn_protocol::NetworkId;
use qnn_protocol::cost::{Cost, weight_bytes};
use qnn_protocol::spec::NetworkSpec;
use yew::prelude::*;

use crate::app::Message;
use crate::chart::shape;
use crate::format;
use crate::language::text;
use crate::race::Run;

#[derive(Clone, PartialEq)]
pub struct Row {
    pub id: NetworkId,
    pub colour: usize,
    pub name: AttrValue,
    pub is_chosen: bool,
    pub run: Run,
    pub spec: NetworkSpec,
    /// Pixels of an image, and classes.
    pub shape: (usize, usize),
}

#[derive(Properties, PartialEq)]
pub struct LeaderboardProperties {
    pub rows: Vec<Row>,
    pub is_full: bool,
    pub dispatch: Callback<Message>,
}

/// The columns: the value of a network, whether more is better, and how it is written.
struct Column {
    heading: AttrValue,
    value: fn(&Row) -> Option<f64>,
    more_is_better: bool,
    written: fn(f64) -> String,
}

#[component]
pub fn Leaderboard(properties: &LeaderboardProperties) -> Html {
    let LeaderboardProperties {
        rows,
        is_full,
        dispatch,
    } = properties;
    let columns = [
        Column {
            heading: text!("race.accuracy"),
            value: |row| row.run.test_accuracy.map(f64::from),
            more_is_better: true,
            written: |accuracy| format::percent(accuracy as f32),
        },
        Column {
            heading: text!("race.speed"),
            value: |row| row.run.images_per_second.map(f64::from),
            more_is_better: true,
            written: |images| format::grouped(images as u64),
        },
        Column {
            heading: text!("race.size"),
            value: |row| {
                let (inputs, classes) = row.shape;
                Some(weight_bytes(&row.spec, inputs, classes, row.spec.weight_bits) as f64)
            },
            more_is_better: false,
            written: |bytes| format::bytes(bytes as usize),
        },
        Column {
            heading: text!("race.energy"),
            value: |row| {
                let (inputs, classes) = row.shape;
                Some(Cost::of(&row.spec, inputs, classes).answer_picojoules())
            },
            more_is_better: false,
            written: format::joules,
        },
    ];
    let bests: Vec<Option<f64>> = columns.iter().map(|column| best(rows, column)).collect();
    let on_add = dispatch.reform(|_: MouseEvent| Message::AddNetwork);
    html! {
        <div class="leaderboard">
            <table id="leaderboard">
                <caption class="unseen">{ text!("race.caption") }</caption>
                <thead>
                    <tr>
                        <th scope="col">{ text!("race.network") }</th>
                        { for columns.iter().map(|column| html! { <th scope="col">{ &column.heading }</th> }) }
                    </tr>
                </thead>
                <tbody>
                    { for rows.iter().map(|row| view_row(row, &columns, &bests, dispatch)) }
                </tbody>
            </table>
            <div class="beside">
                <button id="add-network" type="button" disabled={*is_full} onclick={on_add}>
                    { if *is_full { text!("race.full") } else { text!("race.add") } }
                </button>
                if let Some(chosen) = rows.iter().find(|row| row.is_chosen).filter(|_| rows.len() > 1) {
                    <button
                        id="remove-network"
                        type="button"
                        onclick={dispatch.reform({
                            let id = chosen.id;
                            move |_: MouseEvent| Message::RemoveNetwork(id)
                        })}
                    >
                        { text!("race.remove", name = chosen.name) }
                    </button>
                }
            </div>
        </div>
    }
}

/// The best value of a column, where there are several.
fn best(rows: &[Row], column: &Column) -> Option<f64> {
    let values = rows.iter().filter_map(column.value);
    let better = |a: f64, b: f64| {
        if column.more_is_better {
            a.max(b)
        } else {
            a.min(b)
        }
    };
    values.reduce(better).filter(|_| rows.len() > 1)
}

fn view_row(
    row: &Row,
    columns: &[Column],
    bests: &[Option<f64>],
    dispatch: &Callback<Message>,
) -> Html {
    let id = row.id;
    let on_choose = dispatch.reform(move |_: Event| Message::ChooseNetwork(id));
    html! {
        <tr key={id} class={classes!(row.is_chosen.then_some("chosen"))}>
            <th scope="row">
                <label>
                    <input type="radio" name="network" checked={row.is_chosen} onchange={on_choose} />
                    { swatch(row.colour) }
                    { &row.name }
                </label>
            </th>
            { for columns.iter().zip(bests).map(|(column, best)| {
                let value = (column.value)(row);
                let is_best = value.is_some() && value == *best;
                html! {
                    <td class={classes!(is_best.then_some("best"))}>
                        { value.map_or_else(|| "–".into(), column.written) }
                        if is_best {
                            <span class="unseen">{ text!("race.best") }</span>
                        }
                    </td>
                }
            }) }
        </tr>
    }
}

/// The shape and colour that a network has in the chart.
pub fn swatch(colour: usize) -> Html {
    let corners = shape(colour, (8.0, 8.0), 5.5);
    let points: Vec<String> = corners
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    html! {
        <svg class="swatch" viewBox="0 0 16 16" aria-hidden="true">
            <polygon points={points.join(" ")} style={format!("fill:var(--network-{colour})")} />
        </svg>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(accuracy: Option<f32>) -> Row {
        Row {
            id: 0,
            colour: 0,
            name: "one".into(),
            is_chosen: false,
            run: Run {
                test_accuracy: accuracy,
                ..Run::default()
            },
            spec: NetworkSpec::default(),
            shape: (784, 10),
        }
    }

    #[test]
    fn the_best_is_the_most_or_the_least_of_several() {
        let column = |more_is_better| Column {
            heading: "".into(),
            value: |row| row.run.test_accuracy.map(f64::from),
            more_is_better,
            written: |_| String::new(),
        };
        let rows = [row(Some(0.5)), row(None), row(Some(0.75))];
        assert_eq!(best(&rows, &column(true)), Some(0.75));
        assert_eq!(best(&rows, &column(false)), Some(0.5));
        assert_eq!(best(&rows[..1], &column(true)), None);
    }
}
