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
    RuntimeMetadataPrefixed(META_RESERVED, RuntimeMetadata::V15(downgrade(read()))).encode()
});

fn read() -> v16::RuntimeMetadataV16 {
    let read = RuntimeMetadataPrefixed::decode(&mut V16.as_slice()).unwrap();
    let RuntimeMetadata::V16(read) = read.1 else { panic!("the file is not of version 16") };
    read
}

fn written(metadata: v16::RuntimeMetadataV16) -> Vec<u8> {
    RuntimeMetadataPrefixed(META_RESERVED, RuntimeMetadata::V16(metadata)).encode()
}

/// The metadata with what later runtimes have: two more entries of storage, and a runtime API for the next epoch.
pub(crate) fn newer() -> Vec<u8> {
    let mut metadata = read();
    let pallet = metadata.pallets.iter_mut().find(|pallet| pallet.name == "SubtensorModule").unwrap();
    let entries = &mut pallet.storage.as_mut().unwrap().entries;
    let like = entries.iter().find(|entry| entry.name == "BlocksSinceLastStep").unwrap().clone();
    for name in ["LastEpochBlock", "PendingEpochAt"] {
        entries.push(v16::StorageEntryMetadata { name: name.into(), ..like.clone() });
    }
    let v16::StorageEntryType::Map { value: number, .. } = like.ty else { panic!("not a map") };
    let option = metadata.types.types.iter().find(|known| {
        known.ty.path.segments == ["Option"]
            && known.ty.type_params.iter().any(|given| given.ty == Some(number))
    });
    let mut output = number;
    output.id = option.unwrap().id;
    let api = metadata.apis.iter_mut().find(|api| api.name == "SubnetInfoRuntimeApi").unwrap();
    let like = api.methods.iter().find(|method| method.name == "get_metagraph").unwrap().clone();
    api.methods.push(v16::RuntimeApiMethodMetadata {
        name: "get_next_epoch_start_block".into(),
        output,
        ..like
    });
    written(metadata)
}

/// The metadata with an extension of transactions that nobody knows, carrying a value of a type chosen by its name.
pub(crate) fn with_extension(carries: &str) -> Vec<u8> {
    let mut metadata = read();
    let chosen =
        metadata.types.types.iter().find(|known| known.ty.path.segments.last().is_some_and(|n| n == carries));
    let chosen = chosen.unwrap().id;
    let place = metadata
        .extrinsic
        .transaction_extensions
        .iter()
        .position(|known| known.identifier == "DrandPriority");
    let extension = &mut metadata.extrinsic.transaction_extensions[place.unwrap()];
    extension.identifier = "Unheard".into();
    extension.ty.id = chosen;
    written(metadata)
}

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
