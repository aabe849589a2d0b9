//! Shapes of the chain's values. They are read by the names in the metadata: fields that are not named here are
//! passed over, and whatever order or width the rest has, it fits.

use std::marker::PhantomData;

use scale_value::Value;
use subxt::ext::scale_decode::visitor::DecodeError;
use subxt::ext::scale_decode::visitor::types::{Composite, Tuple, Variant};
use subxt::ext::scale_decode::{DecodeAsType, Error, IntoVisitor, TypeResolver, Visitor};
use subxt::utils::AccountId32;

use crate::chain::CommitmentField;

/// What `SubnetInfoRuntimeApi.get_selective_metagraph` gives of a subnet when asked for [`Self::FIELDS`].
#[derive(DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
pub(super) struct SelectiveMetagraph {
    pub(super) hotkeys: Option<Vec<AccountId32>>,
    pub(super) validator_permit: Option<Vec<bool>>,
    pub(super) last_update: Option<Vec<u64>>,
    pub(super) total_stake: Option<Vec<u64>>,
}

impl SelectiveMetagraph {
    /// The numbers of hotkeys, validator permits, last updates and total stakes.
    pub(super) const FIELDS: [u128; 4] = [52, 57, 59, 69];
}

/// What `SubnetInfoRuntimeApi.get_metagraph` gives, as far as it is used.
#[derive(DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
pub(super) struct WholeMetagraph {
    pub(super) hotkeys: Vec<AccountId32>,
    pub(super) validator_permit: Vec<bool>,
    pub(super) last_update: Vec<u64>,
    pub(super) total_stake: Vec<u64>,
}

/// A value of `Commitments.CommitmentOf`.
#[derive(DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
pub(super) struct Registration {
    pub(super) block: u64,
    pub(super) info: CommitmentInfo,
}

/// The fields of a commitment.
#[derive(DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
pub(super) struct CommitmentInfo {
    pub(super) fields: Vec<CommitmentField>,
}

/// Reads a field of a commitment by its variant's name; what is not raw bytes is kept by its tag.
pub struct FieldVisitor<R>(PhantomData<R>);

impl IntoVisitor for CommitmentField {
    type AnyVisitor<R: TypeResolver> = FieldVisitor<R>;
    fn into_visitor<R: TypeResolver>() -> Self::AnyVisitor<R> {
        FieldVisitor(PhantomData)
    }
}

impl<R: TypeResolver> Visitor for FieldVisitor<R> {
    type Value<'scale, 'resolver> = CommitmentField;
    type Error = Error;
    type TypeResolver = R;

    fn visit_variant<'scale, 'resolver>(
        self,
        value: &mut Variant<'scale, 'resolver, R>,
        _: R::TypeId,
    ) -> Result<CommitmentField, Error> {
        let tag = value.index();
        let name = value.name();
        if name == "None" {
            return Ok(CommitmentField::None);
        }
        let raw = name.strip_prefix("Raw").is_some_and(|size| size.bytes().all(|b| b.is_ascii_digit()));
        if !raw && name != "BigRaw" {
            return Ok(CommitmentField::Other(tag));
        }
        match value.fields().decode_item(<Vec<u8>>::into_visitor()) {
            Some(bytes) => Ok(CommitmentField::Raw(bytes?)),
            None => Ok(CommitmentField::Other(tag)),
        }
    }
}

/// The account that an entry of a list of tuples begins with; the rest of the tuple has changed before.
pub(super) struct Owner(pub(super) AccountId32);

/// Reads an [`Owner`].
pub(super) struct OwnerVisitor<R>(PhantomData<R>);

impl IntoVisitor for Owner {
    type AnyVisitor<R: TypeResolver> = OwnerVisitor<R>;
    fn into_visitor<R: TypeResolver>() -> Self::AnyVisitor<R> {
        OwnerVisitor(PhantomData)
    }
}

impl<R: TypeResolver> Visitor for OwnerVisitor<R> {
    type Value<'scale, 'resolver> = Owner;
    type Error = Error;
    type TypeResolver = R;

    fn visit_tuple<'scale, 'resolver>(
        self,
        value: &mut Tuple<'scale, 'resolver, R>,
        _: R::TypeId,
    ) -> Result<Owner, Error> {
        owner(value.decode_item(AccountId32::into_visitor()))
    }

    fn visit_composite<'scale, 'resolver>(
        self,
        value: &mut Composite<'scale, 'resolver, R>,
        _: R::TypeId,
    ) -> Result<Owner, Error> {
        owner(value.decode_item(AccountId32::into_visitor()))
    }
}

fn owner(first: Option<Result<AccountId32, Error>>) -> Result<Owner, Error> {
    first.unwrap_or_else(|| Err(DecodeError::NotEnoughInput.into())).map(Owner)
}

/// A subnet's number, or another small number, as the metadata's encoder wants it.
pub(super) fn number(value: impl Into<u128>) -> Value {
    Value::u128(value.into())
}

/// An account, or other bytes.
pub(super) fn bytes(value: impl AsRef<[u8]>) -> Value {
    Value::from_bytes(value)
}
