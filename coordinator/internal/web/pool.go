package web

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

const (
	// groupOf is how many machines a group has at least that is shown by itself, and how many of those with an owner it
	// has if it has any: of fewer it could be told who is there.
	groupOf = 5
	// machinesAPage is how many machines an operator's list has.
	machinesAPage = 50
	// inspectTimeout bounds what a page waits for one machine.
	inspectTimeout = 10 * time.Second
)

// poolView is the pool in groups.
type poolView struct {
	group    // of all
	Groups   []group
	Others   *group // the groups that are too small; nil: there are none
	Machines *machinesView
}

// group is some agents.
type group struct {
	Name                     string
	AlwaysOn, Office, Laptop int
	Agents, Offering, Cores  int
	Subnets                  int  // that it is made of
	Few                      bool // so few have an owner that how many offer is not told
}

func (g *group) add(o group) {
	g.AlwaysOn, g.Office, g.Laptop = g.AlwaysOn+o.AlwaysOn, g.Office+o.Office, g.Laptop+o.Laptop
	g.Agents, g.Offering, g.Cores, g.Subnets = g.Agents+o.Agents, g.Offering+o.Offering, g.Cores+o.Cores, g.Subnets+o.Subnets
	g.Few = g.few()
}

// few reports whether somebody has an owner, and too few have one.
func (g *group) few() bool { return g.Agents > g.AlwaysOn && g.Agents-g.AlwaysOn < groupOf }

// Percent is how many of the group offer cores.
func (g *group) Percent() int { return 100 * g.Offering / max(1, g.Agents) }

// machineOf is a group of one.
func machineOf(m peer.Member) group {
	g := group{Agents: 1}
	switch m.Class {
	case peer.AlwaysOn:
		g.AlwaysOn = 1
	case peer.Office:
		g.Office = 1
	case peer.Laptop:
		g.Laptop = 1
	}
	if m.Cores > 0 {
		g.Offering, g.Cores = 1, m.Cores
	}
	return g
}

// subnetOf returns the first 24 bits of an IPv4 address, or 64 of an IPv6 address.
func subnetOf(address string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return "unknown"
	}
	ip, bits := at.Addr().Unmap().WithZone(""), 24
	if !ip.Is4() {
		bits = 64
	}
	subnet, err := ip.Prefix(bits)
	if err != nil {
		return "unknown"
	}
	return subnet.String()
}

// groupsOf returns the agents by subnet, the largest group first, those that are too small in one.
func groupsOf(members []peer.Member) (all group, groups []group, others *group) {
	bySubnet := map[string]*group{}
	for _, m := range members {
		if m.Role != peer.Agent {
			continue
		}
		name := subnetOf(m.Address)
		if bySubnet[name] == nil {
			bySubnet[name] = &group{Name: name, Subnets: 1}
		}
		bySubnet[name].add(machineOf(m))
	}
	for _, name := range slices.Sorted(maps.Keys(bySubnet)) {
		g := bySubnet[name]
		all.add(*g)
		if g.Agents >= groupOf && !g.Few {
			groups = append(groups, *g)
			continue
		}
		if others == nil {
			others = &group{Name: "others"}
		}
		others.add(*g)
	}
	slices.SortStableFunc(groups, func(a, b group) int { return cmp.Compare(b.Agents, a.Agents) })
	return all, groups, others
}

func (p *Page) pool(query url.Values, l *login) *poolView {
	v, members := &poolView{}, p.o.Grid.Members()
	v.group, v.Groups, v.Others = groupsOf(members)
	if l.operator() {
		v.Machines = machinesOf(members, query)
	}
	return v
}

// machinesView is an operator's list of machines. It does not say which of them offer cores.
type machinesView struct {
	Search string
	Rows   []machineRow
	pager
}

type machineRow struct {
	ID, Short, Class, Address, State string
}

func machinesOf(members []peer.Member, query url.Values) *machinesView {
	v := &machinesView{pager: pager{Noun: "machine"}, Search: clip(strings.TrimSpace(query.Get("q")))}
	var found []machineRow
	for _, m := range members {
		text := strings.ToLower(v.Search)
		if m.Role == peer.Agent && (strings.HasPrefix(m.ID.String(), text) || strings.Contains(m.Address, text) || m.Class.String() == text) {
			found = append(found, machineRow{ID: m.ID.String(), Short: m.ID.Short(), Class: m.Class.String(), Address: m.Address, State: stateOf(m)})
		}
	}
	slices.SortFunc(found, func(a, b machineRow) int { return cmp.Compare(a.ID, b.ID) })
	from, to := v.page(len(found), machinesAPage, query, "/pool", map[string]string{"q": v.Search})
	v.Rows = found[from:to]
	return v
}

// stateOf returns a word for what a member may be used for, as gridctl does.
func stateOf(m peer.Member) string {
	switch {
	case m.Draining:
		return "draining"
	case !m.Reachable:
		return "unreachable"
	}
	return "ready"
}

// machineView is one machine, as it told an operator.
type machineView struct {
	machineRow
	Version int
	Owned   bool // it may have an owner, who sees that somebody looked
	Machine
}

// inspect asks one machine, which notes for its owner who did.
func (p *Page) inspect(w http.ResponseWriter, r *http.Request, l *login) {
	v, err := p.machine(r.Context(), r.PostForm.Get("id"), l)
	if err != nil {
		p.tell(w, l, err)
		return
	}
	page := &view{Title: "Machine " + v.Short, Room: "pool", Data: v, page: "machine"}
	p.address(page, l)
	p.render(w, http.StatusOK, page)
}

func (p *Page) machine(ctx context.Context, id string, l *login) (*machineView, error) {
	if !l.operator() {
		return nil, jobs.Errorf(jobs.Denied, "machines are shown to operators only")
	}
	key, err := jobs.ParseKeyID(id)
	if err != nil {
		return nil, err
	}
	members := p.o.Grid.Members()
	i := slices.IndexFunc(members, func(m peer.Member) bool { return m.ID == key && m.Role == peer.Agent })
	if i < 0 {
		return nil, jobs.Errorf(jobs.NotFound, "machine %s is not in the pool now", key.Short())
	}
	m := members[i]
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	p.log.Info("an operator looks at a machine", "operator", l.who.ID, "machine", m.ID)
	told, err := p.o.Grid.Inspect(ctx, m, fmt.Sprintf("%s %s, key %s", l.who.Role, l.name, l.who.ID.Short()))
	if err != nil {
		return nil, jobs.Errorf(jobs.KindOf(err), "ask machine %s: %w", m.ID.Short(), err)
	}
	return &machineView{
		machineRow: machineRow{ID: id, Short: m.ID.Short(), Class: m.Class.String(), Address: m.Address, State: stateOf(m)},
		Version:    m.Version, Owned: m.Class != peer.AlwaysOn, Machine: told,
	}, nil
}
