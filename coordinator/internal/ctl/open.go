package ctl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"idlegrid/agent/program"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

func newOpenCommand(a *app) *cobra.Command {
	var show bool
	cmd := &cobra.Command{
		Use:   "open [JOB]",
		Short: "Open the grid's page in a browser",
		Long: "open has the coordinator make a link to its page, prints it, and opens it in a browser where there is one. The\n" +
			"link lets in once and for five minutes, as you: a submitter sees their own jobs, what these took, and sums of\n" +
			"the pool, an operator everything. Give it to nobody. It needs the coordinator, and one that runs with --page.",
		Example: "  gridctl open\n  gridctl open tour\n  ssh -L 7746:127.0.0.1:7746 grid1   # then, here: gridctl open --print",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return jobs.WithHint(jobs.Errorf(jobs.Invalid, "gridctl open takes one job, not %d", len(args)), "gridctl open --help has an example")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.open(cmd.Context(), args, show) },
	}
	cmd.Flags().BoolVar(&show, "print", false, "print the link and open nothing")
	return cmd
}

func (a *app) open(ctx context.Context, args []string, show bool) (err error) {
	g, err := a.openGrid(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	req := &gridv1.OpenRequest{}
	if len(args) == 1 {
		job, err := g.findJob(ctx, args[0])
		if err != nil {
			return err
		}
		req.Job = job.ID[:]
	}
	reply, err := g.openPage(ctx, req)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(a.stdout, reply.GetUrl()); err != nil {
		return err
	}
	a.say("the link lets in once, until %s", time.UnixMilli(reply.GetEndsMs()).Format(time.TimeOnly))
	if sum := reply.GetCertificate(); len(sum) > 0 {
		a.say("browsers do not know its certificate, whose SHA-256 is\n  %s", fingerprint(sum))
		a.hint("compare that before you let the browser go on; deploy/docs/page.md has how browsers come to trust it")
	}
	if show {
		return nil
	}
	if err := program.Browse(reply.GetUrl()); err != nil {
		a.say("no browser was opened: %v", err)
	}
	return nil
}

// openPage asks the coordinator for a link.
func (g *grid) openPage(ctx context.Context, req *gridv1.OpenRequest) (reply *gridv1.OpenReply, err error) {
	at, err := g.coordinatorMember()
	if err == nil {
		err = g.call(ctx, at, func(ctx context.Context, conn grpc.ClientConnInterface) error {
			reply, err = gridv1.NewPageClient(conn).Open(ctx, req)
			return err
		})
	}
	return reply, needsCoordinator("the page", err)
}

// fingerprint writes a digest as browsers do.
func fingerprint(sum []byte) string {
	return strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
}
