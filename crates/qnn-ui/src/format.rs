//! Numbers as a person reads them. Nothing here knows what a number means.

/// `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `83.6 KB`, with three significant digits and decimal prefixes.
pub fn bytes(bytes: usize) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KB", "MB"] {
        if value < 999.5 {
            return format!("{}\u{a0}{unit}", three_digits(value));
        }
        value /= 1000.0;
    }
    format!("{}\u{a0}GB", three_digits(value))
}

/// `1.17 µJ`, of picojoules, with three significant digits.
pub fn joules(picojoules: f64) -> String {
    let mut value = picojoules;
    for unit in ["pJ", "nJ", "µJ"] {
        if value < 999.5 {
            return format!("{}\u{a0}{unit}", three_digits(value));
        }
        value /= 1000.0;
    }
    format!("{}\u{a0}mJ", three_digits(value))
}

/// `97.31 %`, never broken over two lines.
pub fn percent(share: f32) -> String {
    format!("{:.2}\u{a0}%", 100.0 * share)
}

pub fn three_digits(value: f64) -> String {
    let decimals = match value {
        _ if value >= 100.0 || value.fract() == 0.0 => 0,
        _ if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// 10⁹ multiply-adds a second: three digits, or whole ones.
pub fn speed(giga_macs: f64) -> String {
    if giga_macs >= 1000.0 {
        grouped(giga_macs as u64)
    } else {
        three_digits(giga_macs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }

    #[test]
    fn bytes_have_three_digits() {
        assert_eq!(bytes(12), "12\u{a0}B");
        assert_eq!(bytes(83_584), "83.6\u{a0}KB");
        assert_eq!(bytes(2_674_688), "2.67\u{a0}MB");
        assert_eq!(bytes(999_999), "1.00\u{a0}MB");
    }

    #[test]
    fn speeds_are_grouped_where_they_are_large() {
        assert_eq!(speed(17.25), "17.2");
        assert_eq!(speed(27_487.9), "27,487");
    }

    #[test]
    fn joules_have_prefixes() {
        assert_eq!(joules(12.5), "12.5\u{a0}pJ");
        assert_eq!(joules(1_168_300.0), "1.17\u{a0}µJ");
        assert_eq!(joules(4e9), "4\u{a0}mJ");
    }
}
