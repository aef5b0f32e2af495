package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"idlegrid/agent/peer"
)

func newNodesCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "List the machines of the grid",
		Long: "nodes lists the machines as one of them sees the others: the coordinator or, when it is off, any agent. Of a\n" +
			"machine with an owner nobody learns more than how many cores it offers now, and whether it is there.",
		Example: "  gridctl nodes\n  gridctl nodes -o wide",
		Args:    nothing,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.nodes(cmd.Context()) },
	}
	a.outputFlag(cmd)
	return cmd
}

// nodeView is a member as -o json has it.
type nodeView struct {
	ID      string `json:"id"`
	Role    string `json:"role"`
	Class   string `json:"class"` // empty: no agent
	Cores   int    `json:"cores"` // offered now
	State   string `json:"state"` // ready, draining, unreachable
	Version int    `json:"version"`
	Address string `json:"address"`
}

func (a *app) nodes(ctx context.Context) (err error) {
	g, err := a.openGrid(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	d, agents, cores := nodesData(g.members)
	a.say("%s, %s offered, as %s sees them", count(agents, "agent"), count(cores, "core"), g.asked)
	return a.show(d)
}

func nodesData(members []peer.Member) (d data, agents, cores int) {
	members = slices.Clone(members)
	slices.SortFunc(members, func(x, y peer.Member) int {
		// The coordinator has no class.
		return cmp.Or(cmp.Compare(x.Class, y.Class), x.ID.Compare(y.ID))
	})
	all := make([]nodeView, 0, len(members))
	d.narrow = 6
	d.rows = [][]string{{"ID", "ROLE", "CLASS", "CORES", "STATE", "VERSION", "ADDRESS"}}
	for _, m := range members {
		v := nodeView{
			ID: m.ID.String(), Role: m.Role.String(), Class: m.Class.String(), Cores: m.Cores, State: stateOfMember(m),
			Version: m.Version, Address: m.Address,
		}
		if m.Role == peer.Agent {
			agents++
			cores += m.Cores
		}
		all = append(all, v)
		d.rows = append(d.rows, []string{
			m.ID.Short(), v.Role, cmp.Or(v.Class, "-"), coresText(m), v.State, fmt.Sprint(v.Version), v.Address,
		})
		d.names = append(d.names, v.ID)
	}
	d.value = all
	return d, agents, cores
}

// coresText returns how many cores a member offers. None may mean that its owner is there, or anything else.
func coresText(m peer.Member) string {
	switch {
	case m.Role != peer.Agent:
		return "-"
	case m.Cores == 0:
		return "none"
	}
	return fmt.Sprint(m.Cores)
}

// stateOfMember returns a word for what a member may be used for.
func stateOfMember(m peer.Member) string {
	switch {
	case m.Draining:
		return "draining"
	case !m.Reachable:
		return "unreachable" // no peer has dialled it back; it works all the same, and keeps nothing for others
	}
	return "ready"
}
