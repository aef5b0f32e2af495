package web

import (
	"context"
	"time"

	"idlegrid/agent/program"
	"idlegrid/coordinator/internal/terms"
)

// detailTimeout bounds what a page waits for a job's stewards.
const detailTimeout = 10 * time.Second

// jobView is one job.
type jobView struct {
	*Details
	progress
	For  string
	Mine bool       // it is the reader's own
	Rows [][]string // what it runs
}

func (p *Page) job(ctx context.Context, name string, l *login) (*jobView, error) {
	found, err := p.findJob(name, l)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, detailTimeout)
	defer cancel()
	d, err := p.o.Grid.Details(ctx, found.ID)
	if err != nil {
		return nil, err
	}
	return &jobView{
		Details: d, progress: progressOf(d.Job), For: program.OwnerOr(d.Owner, d.Submitter.String()), Mine: d.Submitter == l.who.ID,
		Rows: terms.Rows(d.Manifest, d.Inputs),
	}, nil
}

// Failing is how many units have no accepted outcome, and none to come.
func (v *jobView) Failing() uint64 { return v.Failed + v.Conflict }

// MoreShards is how many shards are not shown.
func (v *jobView) MoreShards() int { return int(v.Manifest.Shards()) - len(v.Shards) }

// Commands are what the submitter may want to type next.
func (v *jobView) Commands() [][2]string {
	id := v.ID.Short()
	all := [][2]string{{"gridctl watch " + id, "follow it in a terminal"}}
	if v.Accepted > 0 && v.State != Cancelled {
		all = append(all, [2]string{"gridctl results " + id, "get what is done"})
	}
	if v.Failed > 0 {
		all = append(all, [2]string{"gridctl logs " + id + " --failed", "why units failed"})
	}
	if v.State == Running || v.State == Unknown {
		all = append(all, [2]string{"gridctl cancel " + id, "end it"})
	}
	return all
}
