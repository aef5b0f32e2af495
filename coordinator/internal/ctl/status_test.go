package ctl

import (
	"testing"

	gridv1 "idlegrid/proto/grid/v1"
)

// TestOneStewardDoesNotEndAJob: a job is done when two stewards say so, or the only one, and of three stewards one
// that is wrong changes nothing that is shown.
func TestOneStewardDoesNotEndAJob(t *testing.T) {
	const off = -1
	for _, c := range []struct {
		open    []int // what each steward says is open
		shown   int
		agreed  bool
		perhaps bool
	}{
		{open: nil, shown: off},
		{open: []int{off, off, off}, shown: off},
		{open: []int{0}, shown: 0, agreed: true, perhaps: true},
		{open: []int{3}, shown: 3},
		{open: []int{0, 0, 7}, shown: 0, agreed: true, perhaps: true},
		{open: []int{0, 7, 7}, shown: 7, perhaps: true},
		{open: []int{0, 7, 0}, shown: 0, agreed: true, perhaps: true},
		{open: []int{7, 0, 0}, shown: 0, agreed: true, perhaps: true},
		{open: []int{7, 5, 0}, shown: 5, perhaps: true},
		{open: []int{5, 5, 9}, shown: 5},
		{open: []int{7, 5, off}, shown: 5},
		{open: []int{0, off, 7}, shown: 0, perhaps: true},
		{open: []int{0, off, off}, shown: 0, perhaps: true},
		{open: []int{0, 7}, shown: 0, perhaps: true},
		{open: []int{off, 0, 0}, shown: 0, agreed: true, perhaps: true},
	} {
		var replies []*gridv1.SummaryReply
		for _, open := range c.open {
			if open == off {
				replies = append(replies, nil)
				continue
			}
			replies = append(replies, &gridv1.SummaryReply{Open: uint64(open)})
		}
		got := unite(replies)
		shown := off
		if got.reply != nil {
			shown = int(got.reply.GetOpen())
		}
		if shown != c.shown || got.agreed != c.agreed || got.perhaps != c.perhaps {
			t.Errorf("stewards say %v: %d open, agreed %v, perhaps %v, expected %d, %v, %v",
				c.open, shown, got.agreed, got.perhaps, c.shown, c.agreed, c.perhaps)
		}
	}
}
