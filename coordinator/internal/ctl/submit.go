package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/coordinator/internal/results"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// uploadRounds bounds the exchanges of "these are missing" and "here they are": the manifest's own
	// blobs, what the list of inputs names, and one for a coordinator that restarted meanwhile.
	uploadRounds = 4
	uploadTime   = time.Hour
)

type submitOptions struct {
	job     string // path of job.yaml, or stdinPath
	wait    bool
	dryRun  bool
	results resultsOptions
}

func newSubmitCommand(a *app) *cobra.Command {
	var o submitOptions
	var seal bool
	cmd := &cobra.Command{
		Use:   "submit job.yaml",
		Short: "Submit a job to the grid",
		Long: "submit checks a job, uploads its program and inputs, signs it and hands it to the coordinator. It prints\n" +
			"the job's ID. With --wait it follows the job and gets its results; when all of them are here it seals the job,\n" +
			"so that the agents forget it an hour later, unless --seal=false. With --dry-run it checks what can be checked\n" +
			"here, shows what would be submitted, and asks nobody.\n\n" +
			"The machines that run a job can read its program and data.",
		Example: "  gridctl submit tour/job.yaml --wait -d results\n" +
			"  gridctl submit tour/job.yaml --dry-run\n" +
			"  generate-job | gridctl submit -f -",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.results.seal = sealingOf(cmd, seal, sealSoon)
			if err := o.check(cmd); err != nil {
				return err
			}
			if o.dryRun {
				return a.dryRun(o.job)
			}
			return a.submit(cmd.Context(), o)
		},
	}
	fileFlag(cmd, &o.job)
	cmd.Flags().BoolVar(&o.wait, "wait", false, "follow the job and get its results")
	cmd.Flags().BoolVar(&seal, sealFlag, true, "with --wait: seal the job when all its results are here")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "show what would be submitted; submit nothing, and wait for nothing")
	o.results.flags(cmd)
	a.outputFlag(cmd)
	return cmd
}

// check refuses flags that have nothing to say.
func (o *submitOptions) check(cmd *cobra.Command) error {
	if !o.wait && (cmd.Flags().Changed("dir") || cmd.Flags().Changed(timeoutFlag) || o.results.partial) {
		return jobs.Errorf(jobs.Invalid, "-d, --timeout and --partial go with --wait")
	}
	if !o.wait && cmd.Flags().Changed(sealFlag) {
		return jobs.Errorf(jobs.Invalid, "--seal goes with --wait")
	}
	return nil
}

// dryRunView is a job that would be submitted, as -o json has it.
type dryRunView struct {
	*jobView
	Bundles     uint64     `json:"bundles"`
	Shards      uint32     `json:"shards"`
	Blobs       []blobView `json:"blobs"`
	UploadBytes int64      `json:"upload_bytes"` // at most: what the coordinator has is not sent
	Expires     time.Time  `json:"expires"`
}

type blobView struct {
	File   string `json:"file"` // empty: the list of inputs
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

// dryRun shows what submit would submit.
func (a *app) dryRun(path string) error {
	job, err := a.checkJob(path)
	if err != nil {
		return err
	}
	build := job.build
	m := build.Manifest
	if err := m.Supported(); err != nil {
		return err
	}
	v := dryRunView{jobView: newJobView(job), Bundles: m.Bundles(), Shards: m.Shards(), Expires: m.Expires}
	for _, f := range build.Files {
		v.Blobs = append(v.Blobs, blobView{File: f.Path, Bytes: f.Blob.Size, Digest: f.Blob.Digest.String()})
		v.UploadBytes += f.Blob.Size
	}
	a.say("nothing was submitted; it would be %s: %s, results kept until %s", m.Name, count(m.Units, "unit"), day(m.Expires))
	return a.show(data{value: v, rows: v.rows(a.format == formatWide), names: []string{m.Name}})
}

func (v *dryRunView) rows(wide bool) [][]string {
	rows := append(v.jobView.rows(),
		[]string{"bundles", fmt.Sprintf("%d in %s", v.Bundles, count(int(v.Shards), "shard"))},
		[]string{"upload", fmt.Sprintf("%s, %s at most", count(len(v.Blobs), "blob"), bytesText(v.UploadBytes))},
		[]string{"kept until", minute(v.Expires)},
	)
	if wide {
		for _, b := range v.Blobs {
			rows = append(rows, []string{"blob", fmt.Sprintf("%s, %s, %s", cmp.Or(b.File, "list of inputs"), bytesText(b.Bytes), b.Digest)})
		}
	}
	return rows
}

func (a *app) submit(ctx context.Context, o submitOptions) (err error) {
	if err := o.results.check(); err != nil {
		return err
	}
	job, err := a.loadJob(o.job)
	if err != nil {
		return err
	}
	spec, build := job.spec, job.build
	if o.wait { // Better now than when all of it was computed.
		if err := results.Free(cmp.Or(o.results.dir, defaultDir(build.Manifest))); err != nil {
			return err
		}
	}
	ctx, cancel := withTimeout(ctx, o.results.timeout)
	defer cancel()
	defer func() { err = because(ctx, err) }()
	g, err := a.openGrid(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	build, err = spec.Build(g.id.ID(), time.Now())
	if err != nil {
		return err
	}
	a.say("the machines that run this job can read its program and data")
	seeded, err := g.submit(ctx, build)
	if err != nil {
		return needsCoordinator("submit", err)
	}
	id, m := build.ID(), build.Manifest
	a.say("submitted %s: %s, results kept until %s", m.Name, count(m.Units, "unit"), day(m.Expires))
	if seeded == 0 {
		a.say("no agent is here yet: the coordinator hands it over when one is")
	}
	if err := a.show(submittedData(id, m)); err != nil || !o.wait {
		return err
	}
	return a.waitAndFetch(ctx, g, id, o.results)
}

// submittedView is a job in JSON.
type submittedView struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Units   uint64    `json:"units"`
	Expires time.Time `json:"expires"`
}

func submittedData(id jobs.JobID, m *manifest.Manifest) data {
	return data{
		value:  submittedView{ID: id.String(), Name: m.Name, Units: m.Units, Expires: m.Expires},
		rows:   [][]string{{id.Short(), m.Name, count(m.Units, "unit"), "kept until " + day(m.Expires)}},
		narrow: 1,
		names:  []string{id.String()},
	}
}

// submit uploads and hands over a job; it returns how many agents the coordinator handed it to.
func (g *grid) submit(ctx context.Context, build *manifest.Build) (uint32, error) {
	to, err := g.coordinator(ctx)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, uploadTime)
	defer cancel()
	env := record.Sign(record.TypeManifest, build.Payload, g.id.Key)
	req := &gridv1.SubmitRequest{Manifest: env.ToProto(), Chain: &gridv1.Chain{Certificates: g.id.Chain}}
	files := map[jobs.Blob]manifest.File{}
	for _, f := range build.Files {
		files[f.Blob] = f
	}
	for range uploadRounds {
		reply, err := gridv1.NewCoordinatorClient(to.Conn).Submit(ctx, req)
		if err != nil {
			return 0, err
		}
		if len(reply.GetMissing()) == 0 {
			return reply.GetSeeded(), g.store.Pull(ctx, to.Conn, records.Scope{}, jobs.Digest(build.ID()))
		}
		if err := upload(ctx, to, build.ID(), reply.GetMissing(), files); err != nil {
			return 0, err
		}
	}
	return 0, jobs.Errorf(jobs.Internal, "the coordinator goes on asking for blobs that it was given")
}

// upload sends the blobs that the coordinator lacks.
func upload(
	ctx context.Context, to blobs.Peer, job jobs.JobID, missing []*gridv1.Blob, files map[jobs.Blob]manifest.File,
) error {
	for _, p := range missing {
		b, err := record.BlobFromProto(p)
		if err != nil {
			return err
		}
		f, ok := files[b]
		if !ok {
			return jobs.Errorf(jobs.Internal, "the coordinator asks for blob %s, which the job does not name", b)
		}
		r, err := f.Open()
		if err != nil {
			return err
		}
		if _, err = blobs.Send(ctx, to, job, b, r); err != nil {
			if _, readErr := io.Copy(io.Discard, r); readErr != nil {
				err = readErr // The coordinator saw other bytes than were announced; the file knows why.
			}
		}
		if err := errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("upload %s: %w", cmp.Or(f.Path, "the list of inputs"), err)
		}
	}
	return nil
}
