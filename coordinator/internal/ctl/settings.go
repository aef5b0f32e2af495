package ctl

import (
	"os"

	"github.com/spf13/cobra"

	"idlegrid/jobs"
)

const (
	// configVariable names the folder with the logins, in place of the user's own.
	configVariable = "GRID_CONFIG"

	configFlag, contextFlag, timeoutFlag = "config", "context", "timeout"
)

// settings are the flags that a variable can stand for. Where a verb has the flag and it is not given, the
// variable counts; where that is not set or empty, a file or the flag's default.
func settings() [][2]string {
	return [][2]string{
		{configFlag, configVariable},
		{contextFlag, "GRID_CONTEXT"},
		{outputFlagName, "GRID_OUTPUT"},
		{timeoutFlag, "GRID_TIMEOUT"},
	}
}

// settle sets the verb's flags that were not given from their variables, and checks those of all verbs.
func (a *app) settle(cmd *cobra.Command, _ []string) error {
	said := map[string]string{outputFlagName: "-o " + clip(a.format)}
	for _, s := range settings() {
		flag, value := cmd.Flag(s[0]), os.Getenv(s[1])
		if flag == nil || flag.Changed || value == "" {
			continue
		}
		said[s[0]] = s[1] + "=" + clip(value)
		if err := flag.Value.Set(value); err != nil {
			return jobs.Errorf(jobs.Invalid, "%s: %w", said[s[0]], err)
		}
	}
	if a.context != "" {
		if err := checkContextName(a.context); err != nil {
			return err
		}
	}
	return checkFormat(cmd, said[outputFlagName], a.format)
}

func newEnvironmentTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "environment",
		Short: "Variables that gridctl reads, and where it keeps what",
		Long: "What a flag says counts first, then its variable, then the file, then the default.\n\n" +
			"  flag       variable      file     default\n" +
			"  --config   GRID_CONFIG            gridctl in the user's configuration folder\n" +
			"  --context  GRID_CONTEXT  context  default\n" +
			"  --output   GRID_OUTPUT            table, of verbs that have -o\n" +
			"  --timeout  GRID_TIMEOUT           never, of verbs that have --timeout\n\n" +
			"The folder of GRID_CONFIG has the key and certificate of the context default, those of other contexts in\n" +
			"contexts/NAME, and in the file context the name that `gridctl context use` made the current one. Keys are\n" +
			"readable for you alone, and are not used where others can read them.\n\n" +
			"TERM=dumb shows progress in lines, as where standard error is no terminal. There are no colours.\n\n" +
			"Examples:\n" +
			"  GRID_CONTEXT=work GRID_OUTPUT=json gridctl status\n" +
			"  export GRID_TIMEOUT=10m",
	}
}

func newExitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What gridctl's exit codes mean",
		Long: "  0    done\n" +
			"  1    an error\n" +
			"  2    a wrong command line or job.yaml: the same again gives the same error\n" +
			"  3    the job is not complete; what there is of it was written\n" +
			"  124  --timeout ended it\n\n" +
			"Standard output has data and nothing else. Standard error has messages, the last of a failure as\n" +
			"\"gridctl: what was wrong\" and, where something can be done about it, \"hint: what to do\".\n\n" +
			"Example:\n" +
			"  gridctl results tour || [ $? -eq 3 ]   # what there is will do",
	}
}
