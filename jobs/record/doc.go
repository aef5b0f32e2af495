// Package record holds the records of the grid and the bytes they travel as: signed envelopes, what agents
// report, what holders and submitters say about it, and the outcomes and packs that reports name.
//
// What it promises:
//   - A record's ID is a function of its payload and type alone, and never of who carried it or when.
//   - A decoder never panics, allocates in proportion to the bytes it was given, and gives a value within the
//     bounds below or an error of kind jobs.Invalid or jobs.Corrupt, never both.
//   - Fields that a later version adds to a record are tolerated and, as payloads are kept and forwarded byte
//     for byte, survive the way through this version. An Outcome is the exception: equal outcomes must have
//     equal digests, so its bytes are canonical or refused.
//
// What it does not do: it keeps nothing, asks no clock, and does not know who may say what. Whether a signer
// is the submitter, an operator or an agent of this grid is decided where its certificate chain is known.
package record

import "time"

// The types of payloads. The type is signed together with the payload, so that no signature can be used for
// a payload of another kind.
const (
	TypeManifest = "application/vnd.idlegrid.manifest.v1"
	TypeReport   = "application/vnd.idlegrid.report.v1"
	TypeReceipt  = "application/vnd.idlegrid.receipt.v1"
	TypeRuling   = "application/vnd.idlegrid.ruling.v1"
	TypeCancel   = "application/vnd.idlegrid.cancel.v1"
	TypeSeal     = "application/vnd.idlegrid.seal.v1"
	// TypeCheckpoint is passed on with leases and kept in no store of records.
	TypeCheckpoint = "application/vnd.idlegrid.checkpoint.v1"
)

// Bounds on what a decoder takes. Writers stay below them: what is beyond is refused by every peer, for good.
const (
	// MaxPayload bounds a payload, in bytes: the largest report without failures takes about half of it, and
	// with its envelope, chain and receipts it fits into one RPC message.
	MaxPayload = 2 << 20
	// MaxReceipt bounds a receipt's payload, in bytes; it takes about a hundred. A padded one would make a record
	// that fits into no message any more once it is passed on.
	MaxReceipt = 1 << 10
	// MaxCheckpoint bounds a checkpoint's payload, in bytes; it takes about three hundred, and forty for each of its lineage.
	MaxCheckpoint = 2 << 10
	// MaxCheckpointParts bounds the blobs of a checkpoint, and MaxCheckpointBytes each of them: all that a WebAssembly
	// module can address, and as much again for its files.
	MaxCheckpointParts = 2
	MaxCheckpointBytes = 8 << 30
	// MaxSequence bounds a checkpoint's sequence, so that no forger leaves the next run no higher one.
	MaxSequence = 1 << 40
	// MaxEnvelope bounds an encoded envelope, in bytes.
	MaxEnvelope = MaxPayload + 4<<10
	// MaxSignatures bounds the signatures of one envelope: a manifest has two, everything else one.
	MaxSignatures = 4
	// MaxReportBundles bounds the bundles of one report.
	MaxReportBundles = 1024
	// MaxReportUnits bounds the units of one report, over all its bundles.
	MaxReportUnits = 16384
	// MaxRulingUnits bounds the units of one ruling; a submitter with more to say writes several.
	MaxRulingUnits = 16384
	// MaxName bounds short texts such as a runtime and a platform, in bytes.
	MaxName = 128
	// MaxAttempt bounds a report's attempt. It is far above any manifest's retries.
	MaxAttempt = 1 << 16
	// MaxUnitMicros bounds what one unit may claim to have cost, in microseconds: the longest life of a job.
	MaxUnitMicros = 30 * 24 * 3600 * 1_000_000
	// MaxLineage bounds the checkpoints that a lineage names.
	MaxLineage = 32
	// MaxLostRuns bounds the runs without a result of one report.
	MaxLostRuns = 1024
	// MaxSpend bounds what one report may claim to be lost, and what of overhead. A writer with more leaves the rest to
	// its next report.
	MaxSpend = 30 * 24 * time.Hour
	// MaxOutcome bounds an encoded outcome, in bytes.
	MaxOutcome = 256 << 20
	// MaxOutcomeFiles bounds the files of an outcome.
	MaxOutcomeFiles = 16384
	// MaxPath bounds the path of a file in an outcome, in bytes.
	MaxPath = 1024
	// MaxPackEntries bounds the outcomes of a pack: two attempts of all units of the largest report.
	MaxPackEntries = 2 * MaxReportUnits
)
