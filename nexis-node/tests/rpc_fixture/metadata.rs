//! The real metadata, and the same as version 15.

use std::sync::LazyLock;

use parity_scale_codec::{Decode, Encode};
use subxt::ext::frame_metadata::{META_RESERVED, RuntimeMetadata, RuntimeMetadataPrefixed, v15, v16};

/// The runtime's version that the file is of.
pub(crate) const SPEC: u32 = 365;
/// The version of its transactions.
pub(crate) const TRANSACTION: u32 = 1;

/// The file: version 16.
pub(crate) static V16: LazyLock<Vec<u8>> =
    LazyLock::new(|| include_bytes!("../fixtures/chain/finney-365.scale").to_vec());

/// The same as version 15, which is what the Python SDK asks for.
pub(crate) static V15: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let read = RuntimeMetadataPrefixed::decode(&mut V16.as_slice()).unwrap();
    let RuntimeMetadata::V16(read) = read.1 else { panic!("the file is not of version 16") };
    RuntimeMetadataPrefixed(META_RESERVED, RuntimeMetadata::V15(downgrade(read))).encode()
});

/// Drops what version 15 has no place for. The types of the runtime and of all extensions together are not known to
/// version 16 and not used by anyone: the empty type stands for them.
fn downgrade(new: v16::RuntimeMetadataV16) -> v15::RuntimeMetadataV15 {
    const EMPTY_TUPLE: [u8; 2] = [4, 0];
    let empty = new.types.types.iter().find(|known| known.ty.type_def.encode() == EMPTY_TUPLE).unwrap();
    let empty = new.pallets[0].calls.as_ref().map(|calls| {
        let mut ty = calls.ty;
        ty.id = empty.id;
        ty
    });
    let empty = empty.unwrap();
    let chosen = new.extrinsic.transaction_extensions_by_version[&0].clone();
    let extensions = chosen.iter().map(|place| {
        let extension = &new.extrinsic.transaction_extensions[place.0 as usize];
        v15::SignedExtensionMetadata {
            identifier: extension.identifier.clone(),
            ty: extension.ty,
            additional_signed: extension.implicit,
        }
    });
    let extrinsic = v15::ExtrinsicMetadata {
        version: 4,
        address_ty: new.extrinsic.address_ty,
        call_ty: new.outer_enums.call_enum_ty,
        signature_ty: new.extrinsic.signature_ty,
        extra_ty: empty,
        signed_extensions: extensions.collect(),
    };
    let pallets = new.pallets.into_iter().map(|pallet| v15::PalletMetadata {
        name: pallet.name,
        storage: pallet.storage.map(|storage| v15::PalletStorageMetadata {
            prefix: storage.prefix,
            entries: storage
                .entries
                .into_iter()
                .map(|entry| v15::StorageEntryMetadata {
                    name: entry.name,
                    modifier: entry.modifier,
                    ty: entry.ty,
                    default: entry.default,
                    docs: entry.docs,
                })
                .collect(),
        }),
        calls: pallet.calls.map(|calls| v15::PalletCallMetadata { ty: calls.ty }),
        event: pallet.event.map(|event| v15::PalletEventMetadata { ty: event.ty }),
        constants: pallet
            .constants
            .into_iter()
            .map(|constant| v15::PalletConstantMetadata {
                name: constant.name,
                ty: constant.ty,
                value: constant.value,
                docs: constant.docs,
            })
            .collect(),
        error: pallet.error.map(|error| v15::PalletErrorMetadata { ty: error.ty }),
        index: pallet.index,
        docs: pallet.docs,
    });
    let apis = new.apis.into_iter().map(|api| v15::RuntimeApiMetadata {
        name: api.name,
        methods: api
            .methods
            .into_iter()
            .map(|method| v15::RuntimeApiMethodMetadata {
                name: method.name,
                inputs: method.inputs,
                output: method.output,
                docs: method.docs,
            })
            .collect(),
        docs: api.docs,
    });
    v15::RuntimeMetadataV15 {
        pallets: pallets.collect(),
        extrinsic,
        ty: empty,
        apis: apis.collect(),
        outer_enums: new.outer_enums,
        custom: new.custom,
        types: new.types,
    }
}
