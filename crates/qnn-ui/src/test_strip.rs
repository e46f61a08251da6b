//! A strip of test images with the network's answers; the wrong ones are marked and say what is right.

use std::rc::Rc;

use qnn_protocol::TestDigit;
use yew::prelude::*;

use crate::language::text;
use crate::pixels::Pixels;

/// The test images that the engine last showed.
#[derive(Debug)]
pub struct Strip {
    pub width: u32,
    pub height: u32,
    pub digits: Vec<TestDigit>,
}

#[derive(Clone, Properties)]
pub struct TestStripProperties {
    pub strip: Rc<Strip>,
    /// The names of the classes.
    pub classes: Vec<AttrValue>,
}

impl PartialEq for TestStripProperties {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.strip, &other.strip) && self.classes == other.classes
    }
}

#[component]
pub fn TestStrip(properties: &TestStripProperties) -> Html {
    let TestStripProperties { strip, classes } = properties;
    let (width, height) = (strip.width, strip.height);
    let name = |class: u8| classes.get(usize::from(class)).cloned().unwrap_or_default();
    html! {
        <ol id="test-strip" class="test-strip">
            { for strip.digits.iter().map(|digit| {
                let (label, answer) = (name(digit.label), name(digit.answer));
                let percent = format!("{:.0}", 100.0 * digit.share);
                let wrong = digit.answer != digit.label;
                html! {
                    <li class={classes!(wrong.then_some("wrong"))} title={text!("digit.share", percent = percent)}>
                        <Pixels {width} {height} ink={digit.pixels.to_vec()} label={text!("digit.image", class = label)} />
                        if wrong {
                            <strong>
                                <span aria-hidden="true">{ "✗ " }</span>
                                <span class="unseen">{ text!("digit.wrong") }</span>
                                { answer }
                            </strong>
                            <small>{ text!("digit.is", class = label) }</small>
                        } else {
                            <span><span class="unseen">{ text!("digit.right") }</span>{ answer }</span>
                        }
                    </li>
                }
            }) }
        </ol>
    }
}
