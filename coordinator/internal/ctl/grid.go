package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// askTimeout bounds one question to one peer.
	askTimeout = 5 * time.Second
	// pullTimeout bounds the fetching of a shard's records from one peer.
	pullTimeout = 2 * time.Minute
)

// grid is a person's way into the grid: who they are, whom to ask, and a working copy of the records that
// they asked for. Everything that peers say in it was verified against the grid's root.
type grid struct {
	id      *identity.Identity
	config  *os.Root
	temp    string // folder of the working copies
	dialer  *rpc.Dialer
	members []peer.Member // as the first peer that answered sees the pool
	asked   string        // address of that peer
	store   *records.Store
	blobs   *blobs.Dir
	client  *blobs.Client
	known   node.Grid
}

// openGrid logs in with the kept certificate and finds a peer that answers.
func (a *app) openGrid(ctx context.Context) (g *grid, err error) {
	g = &grid{}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	if err := g.login(a); err != nil {
		return g, err
	}
	if err := g.findPeers(ctx); err != nil {
		return g, err
	}
	g.renew(ctx)
	return g, g.openCopies()
}

// login reads the key and certificate of the context in use.
func (g *grid) login(a *app) error {
	l, err := a.openLogins()
	if err == nil {
		err = checkContextName(l.current)
	}
	if err != nil {
		return err
	}
	if g.config, err = os.OpenRoot(l.folder(l.current)); err != nil {
		return l.notLoggedIn(err)
	}
	if g.id, err = identity.Load(g.config); err != nil {
		if jobs.KindOf(err) == jobs.NotFound {
			return l.notLoggedIn(err)
		}
		return err
	}
	if g.known, err = node.LoadGrid(g.config); err != nil {
		return err
	}
	g.dialer = rpc.NewDialer(rpc.DialOptions{Identity: func() *identity.Identity { return g.id }, Root: g.id.Root})
	return nil
}

// findPeers asks the coordinator, then the peers that were seen last, who is in the pool.
func (g *grid) findPeers(ctx context.Context) error {
	kept, err := node.LoadPeers(g.config)
	if err != nil {
		return err
	}
	last := jobs.Errorf(jobs.Unavailable, "no address of a peer is known")
	for _, address := range append(slices.Clone(g.known.Coordinators), kept...) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if g.members, err = g.list(ctx, address); err != nil {
			last = err
			continue
		}
		g.asked = address
		slices.SortStableFunc(g.members, func(a, b peer.Member) int { return cmp.Compare(a.Class, b.Class) })
		var addresses []string
		for _, m := range g.members {
			addresses = append(addresses, m.Address)
		}
		return node.SavePeers(g.config, addresses)
	}
	return jobs.WithHint(fmt.Errorf("no peer of the grid answers, the last: %w", last),
		"check the network, and that the coordinator or an agent runs")
}

func (g *grid) list(ctx context.Context, address string) ([]peer.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := g.dialer.Conn(address, jobs.KeyID{})
	if err != nil {
		return nil, err
	}
	reply, err := gridv1.NewMembersClient(conn).List(ctx, &gridv1.ListRequest{})
	if err != nil {
		return nil, err
	}
	return node.MembersFromProto(reply)
}

// renew asks for a new certificate when half of the old one's life is over. Without the coordinator the old
// one must do.
func (g *grid) renew(ctx context.Context) {
	if time.Now().Before(g.id.RenewAt()) {
		return
	}
	id, _, err := node.Renew(ctx, g.dialer, g.id, g.known.Coordinators)
	if err == nil && id.Save(g.config) == nil {
		g.id = id
	}
}

func (g *grid) openCopies() error {
	var err error
	if g.temp, err = os.MkdirTemp("", "gridctl-"); err != nil {
		return err
	}
	g.store, err = records.Open(records.Options{
		Path: filepath.Join(g.temp, "records.db"), Root: g.id.Root, Self: g.id.ID(), Reader: true,
		Members: func() []peer.Member { return g.members }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	if g.blobs, err = blobs.OpenDir(filepath.Join(g.temp, "blobs"), 0); err != nil {
		return err
	}
	g.client = blobs.NewClient(g.blobs, g.dialer, g.id.Key)
	return nil
}

func (g *grid) close() error {
	var err error
	if g.dialer != nil {
		g.dialer.Close()
	}
	if g.store != nil {
		err = errors.Join(err, g.store.Close())
	}
	if g.blobs != nil {
		err = errors.Join(err, g.blobs.Close())
	}
	if g.config != nil {
		err = errors.Join(err, g.config.Close())
	}
	if g.temp != "" {
		err = errors.Join(err, os.RemoveAll(g.temp))
	}
	return err
}

// coordinator returns the coordinator as a peer for blobs, too.
func (g *grid) coordinator() (blobs.Peer, error) {
	for _, m := range g.members {
		if m.Role == peer.Coordinator {
			conn, err := g.dialer.Conn(m.Address, m.ID)
			return blobs.Peer{ID: m.ID, Conn: conn}, err
		}
	}
	return blobs.Peer{}, jobs.Errorf(jobs.Unavailable, "it is not in the pool")
}

// because returns why ctx ended in place of what that did to the call under way.
func because(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return jobs.WithHint(context.Cause(ctx), "%s", jobs.HintOf(err))
}

// needsCoordinator explains an error that may come from the coordinator's absence.
func needsCoordinator(what string, err error) error {
	if jobs.KindOf(err) != jobs.Unavailable {
		return err
	}
	return jobs.WithHint(jobs.Errorf(jobs.Unavailable, "%s needs the coordinator: %w", what, err),
		"jobs that were submitted go on without it; try again when it runs")
}

// loadJobs fetches the manifests of this person's live jobs from the first peers that answer.
func (g *grid) loadJobs(ctx context.Context) error {
	answers := 0
	var last error
	for _, m := range g.members {
		if answers == 2 {
			break // of two peers one may be behind
		}
		if err := g.pull(ctx, m, records.Scope{}); err != nil {
			last = err
			continue
		}
		answers++
	}
	if answers == 0 {
		return fmt.Errorf("list the jobs: %w", last)
	}
	return nil
}

func (g *grid) pull(ctx context.Context, from peer.Member, scope records.Scope) error {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	conn, err := g.dialer.Conn(from.Address, from.ID)
	if err != nil {
		return err
	}
	return g.store.Pull(ctx, conn, scope)
}

// findJob finds a job by a prefix of its ID, or by name, which means the newest of that name.
func (g *grid) findJob(ctx context.Context, name string) (records.Job, error) {
	if err := g.loadJobs(ctx); err != nil {
		return records.Job{}, err
	}
	return pickJob(g.store.Jobs(false), name)
}

// minPrefix is how many digits of an ID name a job at least.
const minPrefix = 6

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
		return records.Job{}, jobs.WithHint(jobs.Errorf(jobs.Invalid, "%q is the beginning of %d job IDs", name, len(byID)), "give more digits")
	case len(byID) == 1:
		return byID[0], nil
	case len(byName) > 0:
		return byName[len(byName)-1], nil // they come oldest first
	}
	return records.Job{}, jobs.WithHint(jobs.Errorf(jobs.NotFound, "no live job %.80q of yours is known", name),
		"`gridctl status` lists your jobs; name one by six or more digits of its ID, or by its name")
}
