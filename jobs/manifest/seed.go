package manifest

import (
	"encoding/binary"
	"time"

	"idlegrid/jobs"
)

// Identity returns what two jobs share whose units give the same outcomes: the digest of the program, its
// arguments, environment and inputs. Who submits a job and when, how many units it has, what it is called,
// how long they may take and how often they are tried is left out.
func (m *Manifest) Identity() (jobs.Digest, error) {
	same := Manifest{
		Name: "identity", Submitter: jobs.KeyID{1}, Runtime: m.Runtime, Program: m.Program, Args: m.Args, Env: m.Env, Stdin: m.Stdin,
		Inputs: m.Inputs, SuccessCodes: m.SuccessCodes, MinVersion: m.MinVersion, Features: m.Features,
		Units: 1, Bundle: 1, Quorum: 1, Memory: MaxMemory, Timeout: time.Second,
		Created: time.Unix(0, 0), Expires: time.Unix(1, 0),
	}
	b, err := same.Encode()
	return jobs.DigestOf(b), err
}

// Seed returns what a unit's random numbers start from, given the job's Identity: the same on every machine,
// for every submission of the same job, and for a run without a grid.
func Seed(identity jobs.Digest, unit uint64) [32]byte {
	return jobs.DigestOf(binary.BigEndian.AppendUint64(identity[:], unit))
}
