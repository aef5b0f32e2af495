// Package jobs holds the nouns of the grid: what a job, a unit, an agent and a digest are, and the closed
// list of error kinds that the ledger, the RPC layer and the command line share.
//
// It stands on the standard library alone and knows no network, no files and no goroutines. What a job's
// description looks like is in jobs/manifest, what is known of its units in jobs/ledger.
package jobs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"
)

// hashSize is the size of a SHA-256, in bytes.
const hashSize = sha256.Size

// Digest is the SHA-256 of some bytes. It is comparable, and its one text form is 64 lower-case hex digits.
type Digest [hashSize]byte

// JobID is the digest of a manifest's bytes.
type JobID Digest

// KeyID is the digest of an Ed25519 public key: who signed something.
type KeyID Digest

// AgentID is the key ID of an agent's or the coordinator's key.
type AgentID = KeyID

// Blob names bytes by their digest and size. The zero value names none.
type Blob struct {
	Digest Digest
	Size   int64 // bytes
}

// IsZero reports whether the blob names nothing.
func (b Blob) IsZero() bool { return b == Blob{} }

// String returns the digest's text form.
func (b Blob) String() string { return b.Digest.String() }

// UnitID names one run of a job's program.
type UnitID struct {
	Job  JobID
	Unit uint64
}

// ShardID names a run of a job's bundles that has its own stewards.
type ShardID struct {
	Job   JobID
	Shard uint32
}

// DigestOf returns the digest of b.
func DigestOf(b []byte) Digest { return sha256.Sum256(b) }

// DigestFromBytes returns the digest whose 32 bytes are b.
func DigestFromBytes(b []byte) (Digest, error) {
	var d Digest
	if len(b) != len(d) {
		return d, Errorf(Invalid, "digest of %d bytes, expected %d", len(b), len(d))
	}
	copy(d[:], b)
	return d, nil
}

// ParseDigest reads the text form that String writes and nothing else.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) || hex.EncodeToString(b) != s {
		return d, Errorf(Invalid, "%q is no digest: expected %d lower-case hex digits", s, 2*hashSize)
	}
	copy(d[:], b)
	return d, nil
}

// ParseJobID reads a job ID in full.
func ParseJobID(s string) (JobID, error) {
	d, err := ParseDigest(s)
	return JobID(d), err
}

// ParseKeyID reads a key ID in full.
func ParseKeyID(s string) (KeyID, error) {
	d, err := ParseDigest(s)
	return KeyID(d), err
}

// JobIDFromBytes returns the job ID whose 32 bytes are b.
func JobIDFromBytes(b []byte) (JobID, error) {
	d, err := DigestFromBytes(b)
	return JobID(d), err
}

// KeyIDFromBytes returns the key ID whose 32 bytes are b.
func KeyIDFromBytes(b []byte) (KeyID, error) {
	d, err := DigestFromBytes(b)
	return KeyID(d), err
}

// IsZero reports whether the digest was never set.
func (d Digest) IsZero() bool { return d == Digest{} }

// Compare orders digests by their bytes.
func (d Digest) Compare(e Digest) int { return bytes.Compare(d[:], e[:]) }

// String returns the text form.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// LogValue shortens the digest in logs.
func (d Digest) LogValue() slog.Value { return slog.StringValue(d.String()[:12]) }

// IsZero reports whether the ID was never set.
func (id JobID) IsZero() bool { return id == JobID{} }

// String returns the text form.
func (id JobID) String() string { return Digest(id).String() }

// Short returns the twelve digits shown to people. A job may be named by any unique prefix of six or more.
func (id JobID) Short() string { return id.String()[:12] }

// LogValue shortens the ID in logs.
func (id JobID) LogValue() slog.Value { return slog.StringValue(id.Short()) }

// IsZero reports whether the ID was never set.
func (id KeyID) IsZero() bool { return id == KeyID{} }

// Compare orders IDs by their bytes.
func (id KeyID) Compare(other KeyID) int { return bytes.Compare(id[:], other[:]) }

// String returns the text form.
func (id KeyID) String() string { return Digest(id).String() }

// Short returns the eight digits shown to people.
func (id KeyID) Short() string { return id.String()[:8] }

// LogValue shortens the ID in logs.
func (id KeyID) LogValue() slog.Value { return slog.StringValue(id.Short()) }

// String returns job/unit.
func (u UnitID) String() string { return fmt.Sprintf("%s/%d", u.Job.Short(), u.Unit) }

// LogValue shortens the ID in logs.
func (u UnitID) LogValue() slog.Value { return slog.StringValue(u.String()) }

// String returns job#shard.
func (s ShardID) String() string { return fmt.Sprintf("%s#%d", s.Job.Short(), s.Shard) }

// LogValue shortens the ID in logs.
func (s ShardID) LogValue() slog.Value { return slog.StringValue(s.String()) }

// FailureKind says why a unit failed. Eviction, cancel and an agent's own faults are no failures of a unit.
type FailureKind uint8

// The closed list of ways in which a unit fails. The numbers are those of the protocol.
const (
	FailureExit    FailureKind = iota + 1 // ended with a code that is no success
	FailureTimeout                        // ran longer than the manifest allows
	FailureMemory                         // asked for more memory than the manifest allows
	FailureTrap                           // the WebAssembly module trapped
	FailureCrash                          // took its executor process down
	FailureInput                          // its program or inputs cannot be used
)

// String returns the word shown to people and written into units.json.
func (k FailureKind) String() string {
	names := [...]string{"", "exit", "timeout", "memory", "trap", "crash", "input"}
	if k == 0 || int(k) >= len(names) {
		return fmt.Sprintf("failure kind %d", uint8(k))
	}
	return names[k]
}

// MaxFailureText bounds Failure.Text, in bytes.
const MaxFailureText = 4 << 10

// Failure is why a unit failed. The zero value means that it did not.
type Failure struct {
	Kind FailureKind
	Text string // at most MaxFailureText bytes of valid UTF-8
}

// Failed reports whether there is a failure.
func (f Failure) Failed() bool { return f.Kind != 0 }

// String returns "kind: text".
func (f Failure) String() string {
	if f.Text == "" {
		return f.Kind.String()
	}
	return f.Kind.String() + ": " + f.Text
}

// Times are what a unit cost. They are no part of its outcome.
type Times struct {
	CPU  time.Duration
	Wall time.Duration
}
