"""What the official Python SDK (PyPI `bittensor` 11.3.0) reads and signs, as JSON.

    official.py ws://127.0.0.1:PORT PLAN.json

The plan says which subnet to read and which calls to encode, sign and submit; `tests/chain_sdk.rs` writes it, runs
this against the fixture, and compares the answer with the node's own client. Nothing is read from or written to
the user's wallets.
"""

import asyncio
import json
import sys

import bittensor_core
from bittensor import Client


def call_of(plan):
    """A call of the plan in the SDK's words."""
    module, function, params = plan["module"], plan["function"], dict(plan["params"])
    if function == "set_commitment":
        data = bytes.fromhex(params.pop("data"))
        params["info"] = {"fields": [[{f"Raw{len(data)}": "0x" + data.hex()}]]}
    if function == "commit_timelocked_mechanism_weights":
        params["commit"] = bytes.fromhex(params["commit"])
    return (module, function, params)


async def main(url, plan):
    keypair = bittensor_core.Keypair.create_from_seed(bytes.fromhex(plan["seed"]))
    answer = {"address": keypair.ss58_address, "calls": []}
    async with Client(network=url) as client:
        substrate = client._substrate
        view = await client.at(plan["block"])
        graph = await view.subnets.metagraph(plan["netuid"])
        answer["neurons"] = [
            {
                "uid": neuron.uid,
                "hotkey": neuron.hotkey,
                "validator_permit": neuron.validator_permit,
                "last_update": neuron.last_update,
                "total_stake_rao": neuron.total_stake.rao,
            }
            for neuron in graph.neurons
        ]
        commitments = list(graph.commitments.values()) + list(graph.unregistered_commitments.values())
        answer["commitments"] = {
            found.hotkey: {"block": found.block, "fields": found.fields} for found in commitments
        }
        state = {}
        for name in plan["storage"]:
            state[name] = await view.query(("SubtensorModule", name), [plan["netuid"]])
        answer["state"] = state

        era = {"period": 64, "current": plan["block"]}
        for planned in plan["calls"]:
            call = await substrate.compose(call_of(planned))
            unsigned = await substrate.raw.prepare_unsigned(
                call, address=keypair.ss58_address, nonce=plan["nonce"], era=dict(era)
            )
            # The same signature for everybody, since sr25519 never signs twice alike.
            signed = await substrate.raw.sign_without_nonce_tracking(
                call, keypair, nonce=plan["nonce"], era=dict(era), signature=bytes([1]) * 64
            )
            answer["calls"].append(
                {
                    "function": planned["function"],
                    "data": call.data.hex(),
                    "payload": unsigned.payload.hex(),
                    "extrinsic": signed.data.hex(),
                }
            )
        answer["submitted"] = []
        for planned in plan["submit"]:
            call = await substrate.compose(call_of(planned))
            result = await substrate.submit(call, keypair, period=64)
            answer["submitted"].append({"success": result.success, "message": result.message})
    print(json.dumps(answer))


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as plan_file:
        asyncio.run(main(sys.argv[1], json.load(plan_file)))
