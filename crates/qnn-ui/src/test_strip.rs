//! A strip of test images with the network's answers; the wrong ones are marked and say what is right.

use std::rc::Rc;

use qnn_protocol::TestDigit;
use yew::prelude::*;

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
}

impl PartialEq for TestStripProperties {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.strip, &other.strip)
    }
}

#[component]
pub fn TestStrip(properties: &TestStripProperties) -> Html {
    let strip = &properties.strip;
    html! {
        <ol id="test-strip" class="test-strip">
            { for strip.digits.iter().map(|digit| test_digit(strip.width, strip.height, digit)) }
        </ol>
    }
}

fn test_digit(width: u32, height: u32, digit: &TestDigit) -> Html {
    let TestDigit {
        pixels,
        label,
        answer,
    } = digit;
    let wrong = answer != label;
    html! {
        <li class={classes!(wrong.then_some("wrong"))}>
            <Pixels {width} {height} ink={pixels.to_vec()} label={format!("test image of a {label}")} />
            if wrong {
                <strong>
                    <span aria-hidden="true">{ "✗ " }</span>
                    <span class="unseen">{ "wrongly read as " }</span>
                    { answer.to_string() }
                </strong>
                <small>{ format!("is {label}") }</small>
            } else {
                <span><span class="unseen">{ "read as " }</span>{ answer.to_string() }</span>
            }
        </li>
    }
}
