//! Machines without twins of their own.

use super::float::FloatKernel;
use super::integer::{ByteKernel, IntegerKernel};
use super::lookup::LookupKernel;
use super::popcount::BinaryKernel;

pub(super) use super::float::transpose_square as transpose;

pub(super) fn binary_kernels() -> [BinaryKernel; 0] {
    []
}

pub(super) fn float_kernels() -> [FloatKernel; 0] {
    []
}

pub(super) fn integer_kernels() -> [IntegerKernel; 0] {
    []
}

pub(super) fn byte_kernels() -> [ByteKernel; 0] {
    []
}

pub(super) fn lookup_kernels() -> [LookupKernel; 0] {
    []
}
