//! Reads the images that are built in with the network that is built in, and prints the answers over semihosting: to the
//! debugger's console on a board, to standard output in QEMU. At the end it prints what that took.
#![no_std]
#![no_main]

mod stack;

use core::fmt::Write;
use core::panic::PanicInfo;

use cortex_m::asm;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::{ExceptionFrame, entry, exception};
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS, ExitStatus};
use cortex_m_semihosting::hio;
use qnn_infer::Network;

include!(concat!(env!("OUT_DIR"), "/sizes.rs"));
static NETWORK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/network.safetensors"));
static IMAGES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/images.bin"));

#[entry]
fn main() -> ! {
    end(match answer_all() {
        Ok(()) => EXIT_SUCCESS,
        Err(()) => EXIT_FAILURE,
    })
}

/// Tells the debugger how it went; on a board without one, all that is left is to wait.
fn end(status: ExitStatus) -> ! {
    debug::exit(status);
    loop {
        asm::wfi();
    }
}

fn answer_all() -> Result<(), ()> {
    let mut output = hio::hstdout()?;
    let mut clock = cortex_m::Peripherals::take().ok_or(())?.SYST;
    clock.set_clock_source(SystClkSource::Core);
    clock.set_reload(CLOCK_MASK);
    clock.clear_current();
    clock.enable_counter();

    let network = Network::parse(NETWORK).map_err(drop)?;
    let mut buffer = [0; BUFFER_WORDS];
    let mut longest = 0;
    for pixels in IMAGES.chunks_exact(INPUTS) {
        let began = SYST::get_current();
        let answer = network.predict(pixels, &mut buffer).map_err(drop)?;
        // The counter counts down.
        longest = longest.max(began.wrapping_sub(SYST::get_current()) & CLOCK_MASK);
        writeln!(output, "{answer}").map_err(drop)?;
    }
    let stack = stack::most_used();
    writeln!(
        output,
        "{longest} ticks of SysTick for an image, {stack} bytes of stack"
    )
    .map_err(drop)
}

/// SysTick counts in 24 bits.
const CLOCK_MASK: u32 = (1 << 24) - 1;

#[exception]
unsafe fn HardFault(_: &ExceptionFrame) -> ! {
    end(EXIT_FAILURE)
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    end(EXIT_FAILURE)
}
