package coordinator

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/rpc"
	"idlegrid/agent/peer/steward"
	"idlegrid/coordinator/internal/accounts"
	"idlegrid/coordinator/internal/costs"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// maxAccounts bounds an answer, in bytes: a message may have 4 MiB.
	maxAccounts = 3 << 20
	// maxSpan bounds the time that is asked for: a coordinator keeps less.
	maxSpan = 2 * accounts.KeepRows
)

// accountant tells people what work has cost.
type accountant struct {
	gridv1.UnimplementedAccountsServer
	book    *accounts.Book
	costs   costs.Settings
	shipped costs.Settings // of a new grid
}

// List tells a submitter of their own work, and an operator of everybody's, and what was offered.
func (s *accountant) List(ctx context.Context, req *gridv1.AccountsRequest) (*gridv1.AccountsReply, error) {
	who, err := rpc.Allow(ctx, gridv1.Accounts_List_FullMethodName)
	if err != nil {
		return nil, err
	}
	since, until := time.UnixMilli(req.GetSinceMs()), time.UnixMilli(req.GetUntilMs())
	if req.GetSinceMs() < 0 || !until.After(since) || until.Sub(since) > maxSpan {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Invalid, "accounts from %d to %d ms", req.GetSinceMs(), req.GetUntilMs()),
			"since has to be before until, by at most %d days", maxSpan/(24*time.Hour))
	}
	reply := &gridv1.AccountsReply{Costs: costs.ToProto(s.costs, s.shipped)}
	operator := who.Role == peer.Operator
	rows, err := s.book.Rows(since, until, func(by jobs.KeyID, _ string) bool { return operator || by == who.ID })
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		reply.Rows = append(reply.Rows, &gridv1.AccountRow{
			Day: dayOf(r.Day), Submitter: r.Submitter[:], Owner: r.Owner, Runtime: r.Runtime, Spend: steward.SpendToProto(r.Spend),
		})
	}
	if operator {
		offered, err := s.book.OfferedBy(since, until)
		if err != nil {
			return nil, err
		}
		reply.Operator = true
		for _, o := range offered {
			reply.Offered = append(reply.Offered, &gridv1.OfferedDay{Day: dayOf(o.Day), CoreUs: o.CoreMic})
		}
	}
	if n := proto.Size(reply); n > maxAccounts {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Exhausted, "accounts of %d bytes, at most %d are sent", n, maxAccounts), "ask for a shorter time")
	}
	return reply, nil
}

// dayOf returns the day that begins at t, since 1970.
func dayOf(t time.Time) uint32 { return uint32(t.Unix() / (24 * 3600)) }
