package node

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/durable"
	"idlegrid/agent/peer/identity"
	"idlegrid/jobs"
)

const (
	gridFile      = "grid.json"
	peersFile     = "peers.json"
	addressesFile = "addresses.json"

	// maxPeers is how many addresses a peer keeps to find the grid again.
	maxPeers = 64
	// maxFile bounds the small files, in bytes.
	maxFile = 1 << 20
)

// Grid is what a peer was told when it enrolled, beside its certificate.
type Grid struct {
	GossipKeys   [][]byte  `json:"gossip_keys"`
	Voucher      []byte    `json:"voucher"`
	VoucherEnds  time.Time `json:"voucher_ends,omitzero"` // zero: with the certificate
	Coordinators []string  `json:"coordinators"`          // host:port
	// TokensSince is, at a coordinator that was restored from its keys, when: it does not know which tokens were
	// used before.
	TokensSince time.Time `json:"tokens_since,omitzero"`
}

// Addresses say where a running peer listens.
type Addresses struct {
	Grid    string       `json:"grid"`  // host:port of gRPC (TCP) and gossip (TCP and UDP), as others reach it
	Local   string       `json:"local"` // host:port of the same, as this machine reaches it
	Metrics string       `json:"metrics,omitempty"`
	ID      jobs.AgentID `json:"-"`
	IDText  string       `json:"id"`
	PID     int          `json:"pid"`
}

// SaveGrid writes grid.json, which holds secrets.
func SaveGrid(dir *os.Root, g Grid) error { return saveJSON(dir, gridFile, g, 0o600) }

// LoadGrid reads grid.json.
func LoadGrid(dir *os.Root) (Grid, error) {
	var g Grid
	err := loadJSON(dir, gridFile, &g)
	if errors.Is(err, fs.ErrNotExist) {
		return g, notJoined(err)
	}
	return g, withHint(err, "restore it from a copy, or join the grid again with a new token, in another folder")
}

// SavePeers keeps addresses to join by, the newest first.
func SavePeers(dir *os.Root, addresses []string) error {
	return saveJSON(dir, peersFile, addresses[:min(len(addresses), maxPeers)], 0o644)
}

// LoadPeers returns the kept addresses; none when there is no file yet.
func LoadPeers(dir *os.Root) ([]string, error) {
	var addresses []string
	if err := loadJSON(dir, peersFile, &addresses); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(err, "remove it: it is made anew, the coordinator's address is kept elsewhere")
	}
	return slices.Clip(addresses[:min(len(addresses), maxPeers)]), nil
}

// Forget removes what Enrol saved in the folder, and nothing else of it.
func Forget(dir *os.Root) error {
	err := identity.Remove(dir)
	for _, name := range []string{gridFile, peersFile} {
		if e := dir.Remove(name); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// LoadAddresses returns where the peer with this state folder listens now.
func LoadAddresses(dir *os.Root) (Addresses, error) {
	var a Addresses
	err := loadJSON(dir, addressesFile, &a)
	if errors.Is(err, fs.ErrNotExist) {
		return a, jobs.Errorf(jobs.Unavailable, "%s has no %s: nothing runs there", dir.Name(), addressesFile)
	}
	if err != nil {
		return a, err
	}
	a.ID, err = jobs.ParseKeyID(a.IDText)
	return a, err
}

func saveJSON(dir *os.Root, name string, v any, perm fs.FileMode) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(dir, name, append(data, '\n'), perm)
}

func loadJSON(dir *os.Root, name string, v any) error {
	info, err := dir.Stat(name)
	if err != nil {
		return err
	}
	if info.Size() > maxFile {
		return jobs.Errorf(jobs.Corrupt, "%s in %s has %d bytes, expected at most %d", name, dir.Name(), info.Size(), maxFile)
	}
	data, err := dir.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return jobs.Errorf(jobs.Corrupt, "read %s in %s: %w", name, dir.Name(), err)
	}
	return nil
}

// ClassOf returns the class in the certificate of a state folder, before a node is opened on it.
func ClassOf(state string) (peer.Class, error) {
	dir, err := os.OpenRoot(state)
	if err != nil {
		return 0, notJoined(err)
	}
	id, err := identity.Load(dir)
	if err := errors.Join(err, dir.Close()); err != nil {
		return 0, notJoined(err)
	}
	if c := id.Caller(); c.Role != peer.Agent {
		return 0, jobs.WithHint(jobs.Errorf(jobs.Invalid, "%s is the state folder of a %s, not of an agent", state, c.Role),
			"each agent needs a state folder of its own: name it with --state")
	}
	return id.Caller().Class, nil
}

func withHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return jobs.WithHint(err, "%s", hint)
}

// notJoined adds what to do about a state folder in which no grid was joined.
func notJoined(err error) error {
	if errors.Is(err, fs.ErrNotExist) || jobs.KindOf(err) == jobs.NotFound {
		return jobs.WithHint(jobs.Errorf(jobs.NotFound, "this state folder has not joined a grid: %w", err),
			"run `gridagent join TOKEN` with a token from `gridcoordinator token`, or `gridcoordinator init` for a coordinator")
	}
	if jobs.HintOf(err) == "" {
		return withHint(err, "name the state folder, which must be this user's, with --state")
	}
	return err
}
