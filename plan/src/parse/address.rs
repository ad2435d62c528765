//! Places: `weights.Block+589824`, `carries+1024+layer*3145728`.

use super::{Reader, cursor::Cursor, error::ParseError};
use crate::Region;
use crate::program::{Address, CallAccumulate, Index};

impl Reader {
    /// A region that was declared.
    pub(super) fn region_name(&self, cursor: &mut Cursor<'_>) -> Result<Region, ParseError> {
        let error = cursor.here("the name of a region declared above");
        let name = cursor.name("the name of a region")?;
        self.regions.get(&name).copied().ok_or(error)
    }

    /// `region` or `region+offset`.
    pub(super) fn place(&self, cursor: &mut Cursor<'_>) -> Result<(Region, u64), ParseError> {
        let region = self.region_name(cursor)?;
        Ok((region, offset(cursor)?))
    }

    /// A place that may move with the loops' indices.
    pub(super) fn address(&self, cursor: &mut Cursor<'_>) -> Result<Address, ParseError> {
        let region = self.region_name(cursor)?;
        let mut address = Address { region, offset: 0, micro: 0, layer: 0, accumulate: CallAccumulate::Write };
        if cursor.is_sign(0, "+") && index(&mut ahead(cursor)).is_none() {
            address.offset = offset(cursor)?;
        }
        while let Some((index, stride)) = term(cursor)? {
            let part = match index {
                Index::Micro => &mut address.micro,
                Index::Layer => &mut address.layer,
            };
            if *part != 0 {
                return Err(cursor.here("each index only once"));
            }
            *part = stride;
        }
        Ok(address)
    }
}

/// `+offset`, or nothing for 0.
pub(super) fn offset(cursor: &mut Cursor<'_>) -> Result<u64, ParseError> {
    if cursor.skip_sign("+") { cursor.integer() } else { Ok(0) }
}

/// `+layer*1024` or `-layer*1024`, if one stands here.
pub(super) fn term(cursor: &mut Cursor<'_>) -> Result<Option<(Index, i64)>, ParseError> {
    let Some(sign) = cursor.any_sign(&["+", "-"]) else { return Ok(None) };
    let error = cursor.here("`micro*` or `layer*` and bytes");
    let index = index(cursor).ok_or_else(|| error.clone())?;
    cursor.sign("*")?;
    let size = cursor.integer()?;
    let stride = if sign == "-" { 0i64.checked_sub_unsigned(size) } else { i64::try_from(size).ok() };
    stride.map(|stride| Some((index, stride))).ok_or(error)
}

/// `micro` or `layer`.
pub(super) fn index(cursor: &mut Cursor<'_>) -> Option<Index> {
    if cursor.skip_word("micro") {
        Some(Index::Micro)
    } else if cursor.skip_word("layer") {
        Some(Index::Layer)
    } else {
        None
    }
}

fn ahead<'a>(cursor: &Cursor<'a>) -> Cursor<'a> {
    let mut ahead = cursor.clone();
    ahead.skip_sign("+");
    ahead
}
