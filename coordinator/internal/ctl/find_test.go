package ctl

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/rpc"
	gridv1 "idlegrid/proto/grid/v1"
)

// TestFindPeersLooksPastALonelyOne has a coordinator that has just started and sees no agent, and a peer from before
// that does: the pool is as the peer sees it. When the peer does not answer, what the coordinator sees is taken.
func TestFindPeersLooksPastALonelyOne(t *testing.T) {
	g := NewEmptyGrid(t)
	folder := filepath.Join(t.TempDir(), "login")
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: &out, format: formatTable, config: folder}
	if err := a.login(t.Context(), g.Token(identity.Grant{Role: peer.Submitter}, time.Hour)); err != nil {
		t.Fatal(err)
	}
	friend, stop := g.serveView(1)
	dir, err := os.OpenRoot(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := node.SavePeers(dir, []string{friend}); err != nil {
		t.Fatal(err)
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name, asked string
		steward     bool
		before      func()
	}{
		{"the peer answers", friend, true, func() {}},
		{"it does not", g.coordinator.Address(), false, stop},
	} {
		step.before()
		found, err := a.openGrid(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if found.asked != step.asked || seesStewards(found.members) != step.steward {
			t.Errorf("%s: asked %s and saw %v", step.name, found.asked, found.members)
		}
		if err := found.close(); err != nil {
			t.Error(err)
		}
	}
}

// view is a peer that shows a pool of so many agents that keep records, and can do nothing else.
type view struct {
	gridv1.UnimplementedMembersServer
	agents int
}

// List shows the agents.
func (v view) List(context.Context, *gridv1.ListRequest) (*gridv1.ListReply, error) {
	reply := &gridv1.ListReply{}
	for n := range v.agents {
		id := [32]byte{byte(n + 1)}
		reply.Members = append(reply.Members, &gridv1.Member{
			Id: id[:], Address: "127.0.0.1:1", Role: gridv1.Role(peer.Agent), Class: gridv1.Class(peer.AlwaysOn),
			Reachable: true, Cores: 1, Version: peer.Version,
		})
	}
	return reply, nil
}

// serveView has an agent of the grid serve a view, and returns its address and what ends it.
func (g *OneGrid) serveView(agents int) (address string, stop func()) {
	g.t.Helper()
	token := g.Token(identity.Grant{Role: peer.Agent, Class: peer.AlwaysOn}, time.Hour)
	id, _, err := node.Enrol(g.t.Context(), g.folder("friend"), token, peer.Agent)
	if err != nil {
		g.t.Fatal(err)
	}
	network := g.listen("127.0.0.1:0")
	listener := rpc.Listen(network.Listener, rpc.ListenOptions{Identity: func() *identity.Identity { return id }, Log: g.log})
	server := rpc.NewServer(g.log, rpc.Told{})
	gridv1.RegisterMembersServer(server, view{agents: agents})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener.GRPC()) }()
	stop = sync.OnceFunc(func() {
		server.Stop()
		if err := errors.Join(<-served, listener.Close(), network.Packets.Close()); err != nil {
			g.t.Errorf("close a peer: %v", err)
		}
	})
	g.t.Cleanup(stop)
	return network.Listener.Addr().String(), stop
}
