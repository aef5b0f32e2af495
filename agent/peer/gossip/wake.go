package gossip

import (
	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// MaxWoken is how many members one Wake reaches.
	MaxWoken = 32
	// maxQueuedWakes is how many wake-ups wait for OnWake; a lost one costs its job a few seconds.
	maxQueuedWakes = 64
	// maxWakeBytes leaves room for what a later version adds.
	maxWakeBytes = 256
)

// Wake tells an idle member that a job has open units. It is a hint: whoever holds the gossip key can
// send it in another's name.
type Wake struct {
	Job  jobs.JobID
	From jobs.AgentID // has the manifest
}

// Wake sends a wake-up for the job to the first MaxWoken of the members that are alive, and returns how
// many packets left.
func (g *Gossip) Wake(ids []jobs.AgentID, job jobs.JobID) int {
	msg, err := encodeWake(Wake{Job: job, From: g.id})
	if err != nil {
		g.log.Error("encode wake-up", "err", err)
		return 0
	}
	sent := 0
	for _, id := range ids {
		name, address, ok := g.roster.top(id)
		if !ok {
			continue
		}
		if sent == MaxWoken {
			break
		}
		if err := g.list.SendToAddress(memberlist.Address{Addr: address, Name: name}, msg); err != nil {
			g.log.Debug("wake a member", "member", id, "err", err)
			continue
		}
		sent++
	}
	return sent
}

// NotifyMsg takes a wake-up in. memberlist uses the bytes again after it returns; the decoder copies.
func (d *delegate) NotifyMsg(b []byte) {
	w, err := decodeWake(b)
	if err != nil {
		d.g.stats.malformed.Add(1)
		return
	}
	select {
	case d.g.wakes <- w:
	default:
		d.g.stats.dropped.Add(1)
	}
}

func encodeWake(w Wake) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(&gridv1.Wake{Job: w.Job[:], From: w.From[:]})
}

func decodeWake(b []byte) (Wake, error) {
	if len(b) > maxWakeBytes {
		return Wake{}, jobs.Errorf(jobs.Invalid, "wake-up of %d bytes, expected at most %d", len(b), maxWakeBytes)
	}
	var m gridv1.Wake
	if err := proto.Unmarshal(b, &m); err != nil {
		return Wake{}, jobs.Errorf(jobs.Invalid, "wake-up: %w", err)
	}
	job, err := jobs.JobIDFromBytes(m.GetJob())
	if err != nil {
		return Wake{}, jobs.Errorf(jobs.Invalid, "wake-up: job: %w", err)
	}
	from, err := jobs.KeyIDFromBytes(m.GetFrom())
	if err != nil {
		return Wake{}, jobs.Errorf(jobs.Invalid, "wake-up: sender: %w", err)
	}
	return Wake{Job: job, From: from}, nil
}
