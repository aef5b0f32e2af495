package ctl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
)

// grid is a person's way into the grid: who they are, whom to ask, and a working copy of the records that
// they asked for. Everything that peers say in it was verified against the grid's root.
type grid struct {
	id      *identity.Identity
	config  *os.Root
	temp    string // folder of the working copies
	dialer  *rpc.Dialer
	silence silence
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
	if err := g.revive(ctx); err != nil {
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
		err = l.checkCurrent()
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
	g.dial()
	return nil
}

func (g *grid) dial() {
	id := g.id // A connection may be under way when g.id changes.
	g.dialer = rpc.NewDialer(rpc.DialOptions{Identity: func() *identity.Identity { return id }, Root: id.Root})
}

// revive renews a certificate that has ended, such as after a long holiday: nobody but the coordinator talks to
// its holder.
func (g *grid) revive(ctx context.Context) error {
	ended := g.id.Caller().NotAfter
	if time.Now().Before(ended) {
		return nil
	}
	id, _, err := node.Renew(ctx, g.dialer, g.id, g.known.Coordinators)
	if err == nil {
		err = id.Save(g.config)
	}
	if err != nil {
		return jobs.WithHint(fmt.Errorf("the certificate of this login ended at %s, and cannot be renewed now: %w", minute(ended), err),
			"the coordinator renews it when it runs; what you submitted goes on meanwhile")
	}
	g.id = id
	g.dialer.Close() // Its connections are still those of the old certificate.
	g.dial()
	return nil
}

// renew asks for a new certificate when half of the old one's life is over. Without the coordinator the old
// one must do.
func (g *grid) renew(ctx context.Context) {
	if time.Now().Before(g.id.RenewAt()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
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

// because returns why ctx ended in place of what that did to the call under way.
func because(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return jobs.WithHint(context.Cause(ctx), "%s", jobs.HintOf(err))
}
