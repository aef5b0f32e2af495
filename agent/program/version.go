package program

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// Version is what a program was made of.
type Version struct {
	Program  string `json:"program"`
	Version  string `json:"version"`  // of the module; "unknown" where the build says nothing
	Revision string `json:"revision"` // commit, if the build knows it
	Modified bool   `json:"modified"` // whether there was more than that commit has
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Protocol int    `json:"protocol"` // version of what peers speak
	Runtime  string `json:"runtime"`  // what runs units
}

// VersionOf returns the version of this program, as the build stamped it.
func VersionOf(name string) Version {
	v := Version{
		Program: name, Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Protocol: peer.Version, Runtime: executor.Runtime(),
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		v.read(build)
	}
	return v
}

func (v *Version) read(build *debug.BuildInfo) {
	if build.Main.Version != "" {
		v.Version = build.Main.Version
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
}

// Rows returns the version as a table of names and values.
func (v Version) Rows() [][]string {
	revision := v.Revision
	switch {
	case revision == "":
		revision = "unknown"
	case v.Modified:
		revision += ", modified"
	}
	return [][]string{
		{v.Program, v.Version},
		{"revision", revision},
		{"go", v.Go},
		{"platform", v.Platform},
		{"protocol", fmt.Sprint(v.Protocol)},
		{"runtime", v.Runtime},
	}
}

// newVersion is the version verb of a daemon.
func newVersion(name string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Show what this program was made of",
		Example: "  " + name + " version -o json",
		Args:    cobra.NoArgs,
	}
	format := cmd.Flags().StringP("output", "o", "table", "table or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v := VersionOf(name)
		switch *format {
		case "table":
			return v.write(cmd.OutOrStdout())
		case "json":
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(v)
		}
		return jobs.Errorf(jobs.Invalid, "-o %.40s: expected table or json", *format)
	}
	return cmd
}

func (v Version) write(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, row := range v.Rows() {
		if _, err := fmt.Fprintf(w, "%s\t%s\n", row[0], row[1]); err != nil {
			return err
		}
	}
	return w.Flush()
}
