package vcdsim_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/vcdsim"
)

// The example with curl runs as it stands.
func TestCurl(t *testing.T) {
	inventory, err := os.ReadFile("examples/curl.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cloud, err := vcdsim.Start(vcdsim.Options{Dir: t.TempDir(), Inventory: inventory})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cloud.Close() })
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, cloud.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "examples/curl.sh", cloud.Sites()[0].URL.String(), ca)
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "delete: success\ndone\n") {
		t.Errorf("%v\n%s", err, out)
	}
}
