//! Where a network errs: how many images of each class got each answer at the last test, each class's accuracy, and the
//! images themselves. The engine tests; here it is drawn.

use std::rc::Rc;

use yew::prelude::*;

use crate::app::Message;
use crate::format;
use crate::language::text;
use crate::test_strip::{Strip, TestStrip};

#[derive(Clone, Properties)]
pub struct MistakesProperties {
    /// Test images of each class and answer, `[class, answer]`.
    pub confusion: Option<Rc<[u32]>>,
    pub images: Option<Rc<Strip>>,
    pub cell: Option<(u8, u8)>,
    pub classes: Vec<AttrValue>,
    pub dispatch: Callback<Message>,
}

impl PartialEq for MistakesProperties {
    fn eq(&self, other: &Self) -> bool {
        fn same<T: ?Sized>(one: &Option<Rc<T>>, other: &Option<Rc<T>>) -> bool {
            match (one, other) {
                (Some(one), Some(other)) => Rc::ptr_eq(one, other),
                (None, None) => true,
                _ => false,
            }
        }
        same(&self.confusion, &other.confusion)
            && same(&self.images, &other.images)
            && (self.cell, &self.classes) == (other.cell, &other.classes)
    }
}

#[component]
pub fn Mistakes(properties: &MistakesProperties) -> Html {
    let MistakesProperties {
        confusion,
        images,
        cell,
        classes,
        dispatch,
    } = properties;
    let known = confusion
        .as_ref()
        .filter(|confusion| confusion.len() == classes.len() * classes.len());
    let Some(confusion) = known else {
        return html! { <p class="hint">{ text!("mistakes.none_yet") }</p> };
    };
    let rows: Vec<&[u32]> = confusion.chunks_exact(classes.len()).collect();
    let most_wrong = rows
        .iter()
        .enumerate()
        .flat_map(|(class, row)| {
            let wrong = move |(answer, count): (usize, &u32)| (answer != class).then_some(*count);
            row.iter().enumerate().filter_map(wrong)
        })
        .max()
        .unwrap_or(0);
    let name = |class: u8| classes.get(usize::from(class)).cloned().unwrap_or_default();
    let heading = match cell {
        Some((class, answer)) if class == answer => text!("mistakes.right", class = name(*class)),
        Some((class, answer)) => {
            text!(
                "mistakes.cell",
                class = name(*class),
                answer = name(*answer)
            )
        }
        None => text!("mistakes.worst"),
    };
    let on_all = dispatch.reform(|_: MouseEvent| Message::LookAtCell(None));
    html! {
        <div class="mistakes">
            <div class="scrolled" tabindex="0" role="region" aria-label={text!("mistakes.matrix")}>
                <table id="confusion" class="confusion">
                    <caption>{ text!("mistakes.caption") }</caption>
                    <thead>
                        <tr>
                            <th scope="col">{ text!("mistakes.class") }</th>
                            { for classes.iter().map(|class| html! { <th scope="col">{ class }</th> }) }
                            <th scope="col">{ text!("mistakes.accuracy") }</th>
                        </tr>
                    </thead>
                    <tbody>
                        { for rows.iter().enumerate().map(|(class, row)| html! {
                            <tr key={class}>
                                <th scope="row">{ &classes[class] }</th>
                                { for row.iter().enumerate().map(|(answer, count)| {
                                    let place = (class as u8, answer as u8);
                                    let label = text!("mistakes.count", class = classes[class], answer = classes[answer], count = count);
                                    let share = f64::from(*count) / f64::from(most_wrong.max(1));
                                    let style = (class != answer && *count > 0)
                                        .then(|| format!("--share:{:.0}%", 100.0 * share.sqrt()));
                                    html! {
                                        <td class={classes!((class == answer).then_some("right"))} {style}>
                                            <button
                                                type="button"
                                                aria-label={label}
                                                aria-pressed={(*cell == Some(place)).to_string()}
                                                onclick={dispatch.reform(move |_: MouseEvent| Message::LookAtCell(Some(place)))}
                                            >
                                                { count }
                                            </button>
                                        </td>
                                    }
                                }) }
                                <td>{ accuracy(row, class).map_or_else(|| "–".into(), format::percent) }</td>
                            </tr>
                        }) }
                    </tbody>
                </table>
            </div>
            <div>
                <h3 id="mistakes-heading">{ heading }</h3>
                if cell.is_some() {
                    <button type="button" onclick={on_all}>{ text!("mistakes.show_worst") }</button>
                }
                if let Some(images) = images.as_ref().filter(|images| !images.digits.is_empty()) {
                    <TestStrip strip={images.clone()} classes={classes.clone()} />
                } else {
                    <p class="hint">{ text!("mistakes.no_images") }</p>
                }
            </div>
        </div>
    }
}

/// The share of a class's images that were read rightly, if there are any.
fn accuracy(row: &[u32], class: usize) -> Option<f32> {
    let all: u32 = row.iter().sum();
    (all > 0).then(|| row[class] as f32 / all as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_is_the_share_on_the_diagonal() {
        assert_eq!(accuracy(&[1, 3, 0], 1), Some(0.75));
        assert_eq!(accuracy(&[0, 0, 0], 1), None);
    }
}
