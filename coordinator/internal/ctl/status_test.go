package ctl

import (
	"testing"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// A job that is waited for is done when two stewards say so, or the only one.
func TestOneStewardDoesNotEndAJob(t *testing.T) {
	const off = -1
	for _, c := range []struct {
		open []int // what each steward says is open
		best int
		done bool
	}{
		{open: nil, best: off},
		{open: []int{off, off, off}, best: off},
		{open: []int{0}, best: 0, done: true},
		{open: []int{3}, best: 3},
		{open: []int{0, 0, 7}, best: 0, done: true},
		{open: []int{0, 7, 7}, best: 0},
		{open: []int{0, 7, 0}, best: 0, done: true},
		{open: []int{7, 0, 0}, best: 0, done: true},
		{open: []int{7, 5, 0}, best: 5}, // the third is not asked
		{open: []int{0, off, 7}, best: 0},
		{open: []int{0, off, off}, best: 0},
		{open: []int{0, 7}, best: 0},
		{open: []int{off, 0, 0}, best: 0, done: true},
	} {
		var stewards []peer.Member
		for i := range c.open {
			stewards = append(stewards, peer.Member{Cores: i})
		}
		best, done := unite(stewards, func(m peer.Member) (*gridv1.SummaryReply, error) {
			if open := c.open[m.Cores]; open != off {
				return &gridv1.SummaryReply{Open: uint64(open)}, nil
			}
			return nil, jobs.Errorf(jobs.Unavailable, "off")
		})
		got := off
		if best != nil {
			got = int(best.GetOpen())
		}
		if got != c.best || done != c.done {
			t.Errorf("stewards say %v: %d open, done %v, expected %d, %v", c.open, got, done, c.best, c.done)
		}
	}
}
