package ctl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// nextAddress is how long an address may take before the next one is tried as well. Those of PCs that are off
// say nothing at all.
const nextAddress = 200 * time.Millisecond

// findPeers asks the coordinator, then the peers that were seen last, who is in the pool. The first that
// answers is believed, unless it has just started and sees no steward: then the others get a little time.
func (g *grid) findPeers(ctx context.Context) error {
	kept, err := node.LoadPeers(g.config)
	if err != nil {
		return err
	}
	addresses := unique(append(slices.Clone(g.known.Coordinators), kept...))
	lists := make([][]peer.Member, len(addresses))
	within, enough := context.WithCancel(ctx)
	defer enough()
	ask := func(ctx context.Context, i int) (err error) {
		if lists[i], err = g.list(ctx, addresses[i]); err != nil {
			return err
		}
		if !seesStewards(lists[i]) {
			time.AfterFunc(hastyTimeout, enough)
			return jobs.Errorf(jobs.Unavailable, "%s sees no agent that keeps records", addresses[i])
		}
		return nil
	}
	answers, err := question{enough: 1, hedge: nextAddress, ask: ask}.of(within, len(addresses))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	first := slices.IndexFunc(lists, seesStewards)
	if answers == 0 {
		first = slices.IndexFunc(lists, func(l []peer.Member) bool { return l != nil })
	}
	if first < 0 {
		if err == nil {
			err = jobs.Errorf(jobs.Unavailable, "no address of a peer is known")
		}
		return jobs.WithHint(fmt.Errorf("no peer of the grid answers, the last: %w", err),
			"check the network, and that the coordinator or an agent runs")
	}
	g.members, g.asked = lists[first], addresses[first]
	slices.SortStableFunc(g.members, func(a, b peer.Member) int { return cmp.Compare(a.Class, b.Class) })
	var seen []string
	for _, m := range g.members {
		seen = append(seen, m.Address)
	}
	// Those seen before stay behind the others: a peer that has just started sees nobody but itself.
	seen = unique(append(seen, kept...))
	if slices.Equal(seen, kept) {
		return nil // no need of a disk that has room, and of waiting for it
	}
	return node.SavePeers(g.config, seen)
}

// seesStewards reports whether a view of the pool has anybody who keeps records.
func seesStewards(members []peer.Member) bool {
	return slices.ContainsFunc(members, peer.Member.Eligible)
}

// unique leaves the first of each.
func unique(list []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(s string) bool {
		again := seen[s]
		seen[s] = true
		return again
	})
}

func (g *grid) list(ctx context.Context, address string) ([]peer.Member, error) {
	var members []peer.Member
	err := g.call(ctx, peer.Member{Address: address}, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		reply, err := gridv1.NewMembersClient(conn).List(ctx, &gridv1.ListRequest{})
		if err != nil {
			return err
		}
		members, err = node.MembersFromProto(reply)
		return err
	})
	return members, err
}

// coordinator returns the coordinator as a peer for blobs, too, if it answers.
func (g *grid) coordinator(ctx context.Context) (blobs.Peer, error) {
	m, err := g.coordinatorMember()
	if err != nil {
		return blobs.Peer{}, err
	}
	err = g.call(ctx, m, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		_, err := gridv1.NewMembersClient(conn).List(ctx, &gridv1.ListRequest{})
		return err
	})
	if err != nil {
		return blobs.Peer{}, err
	}
	conn, err := g.dialer.Conn(m.Address, m.ID)
	return blobs.Peer{ID: m.ID, Conn: conn}, err
}

// coordinatorMember returns the coordinator as the pool sees it.
func (g *grid) coordinatorMember() (peer.Member, error) {
	for _, m := range g.members {
		if m.Role == peer.Coordinator {
			return m, nil
		}
	}
	return peer.Member{}, jobs.Errorf(jobs.Unavailable, "it is not in the pool")
}

// needsCoordinator explains an error that may come from the coordinator's absence.
func needsCoordinator(what string, err error) error {
	if jobs.KindOf(err) != jobs.Unavailable {
		return err
	}
	return jobs.WithHint(jobs.Errorf(jobs.Unavailable, "%s needs the coordinator: %w", what, err),
		"jobs that were submitted go on without it; try again when it runs")
}

// loadJobs fetches the manifests of this person's live jobs, and what ended any, from two peers: of two one may
// be behind.
func (g *grid) loadJobs(ctx context.Context) error {
	ask := func(ctx context.Context, i int) error { return g.pull(ctx, g.members[i], records.Scope{}) }
	answers, err := question{enough: 2, hedge: hedgeAfter, ask: ask}.of(ctx, len(g.members))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if answers == 0 {
		if err == nil {
			err = jobs.Errorf(jobs.Unavailable, "the pool is empty")
		}
		return fmt.Errorf("list the jobs: %w", err)
	}
	return nil
}

// pull fetches records from a peer that may take its time for many, as long as it goes on.
func (g *grid) pull(ctx context.Context, from peer.Member, scope records.Scope) error {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	conn, err := g.dialer.Conn(from.Address, from.ID)
	if err != nil {
		return err
	}
	return g.store.Pull(ctx, impatient{conn, g.silence.patience(from.ID), errSilent(from)}, scope)
}

// pullShard fetches the reports of a shard from two of its stewards.
func (g *grid) pullShard(ctx context.Context, shard jobs.ShardID) error {
	stewards := peer.Stewards(shard, g.members)
	ask := func(ctx context.Context, i int) error {
		return g.pull(ctx, stewards[i], records.Scope{Shard: shard, Reports: true})
	}
	answers, err := question{enough: 2, hedge: hedgeAfter, ask: ask}.of(ctx, len(stewards))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if answers == 0 {
		if err == nil {
			err = jobs.Errorf(jobs.Unavailable, "the pool has no agent that could keep it")
		}
		return fmt.Errorf("no steward of %s answers: %w", shard, err)
	}
	return nil
}

// findJob finds a job by a prefix of its ID, or by name, which means the newest of that name.
func (g *grid) findJob(ctx context.Context, name string) (records.Job, error) {
	if err := g.loadJobs(ctx); err != nil {
		return records.Job{}, err
	}
	return pickJob(g.store.Jobs(false), name)
}

// findJobs finds several jobs, each once.
func (g *grid) findJobs(ctx context.Context, names []string) ([]records.Job, error) {
	if err := g.loadJobs(ctx); err != nil {
		return nil, err
	}
	var found []records.Job
	for _, name := range names {
		job, err := pickJob(g.store.Jobs(false), name)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(found, func(j records.Job) bool { return j.ID == job.ID }) {
			found = append(found, job)
		}
	}
	return found, nil
}

// minPrefix is how many digits of an ID name a job at least.
const minPrefix = 6

// pickJob is how every verb finds a job that a person names; all come oldest first.
func pickJob(all []records.Job, name string) (records.Job, error) {
	var byID, byName []records.Job
	for _, j := range all {
		if len(name) >= minPrefix && strings.HasPrefix(j.ID.String(), strings.ToLower(name)) {
			byID = append(byID, j)
		}
		if j.Manifest.Name == name {
			byName = append(byName, j)
		}
	}
	switch {
	case len(byID) > 1:
		return records.Job{}, ambiguous(name, byID)
	case len(byID) == 1:
		return byID[0], nil
	case len(byName) > 0:
		return byName[len(byName)-1], nil
	}
	err := jobs.Errorf(jobs.NotFound, "no live job %.80q of yours is known", name)
	var names []string
	for _, j := range all {
		names = append(names, j.Manifest.Name)
	}
	if near := suggest(name, unique(names)); name != "" && len(near) > 0 {
		return records.Job{}, jobs.WithHint(err, "did you mean %s?", either(near))
	}
	return records.Job{}, jobs.WithHint(err,
		"`gridctl status` lists your jobs; name one by six or more digits of its ID, or by its name; one that has expired is forgotten")
}

// ambiguous lists the jobs that may have been meant, the newest first.
func ambiguous(name string, found []records.Job) error {
	const most = 5
	var list strings.Builder
	for i, j := range slices.Backward(found) {
		if len(found)-i > most {
			fmt.Fprintf(&list, "\n  and %d more", len(found)-most)
			break
		}
		fmt.Fprintf(&list, "\n  %s  %s  created %s", j.ID.Short(), j.Manifest.Name, minute(j.Manifest.Created))
	}
	return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%q is the beginning of %d job IDs:%s", name, len(found), list.String()),
		"give more digits")
}
