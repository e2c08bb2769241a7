package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

func TestNaturesAreShown(t *testing.T) {
	for _, tc := range []struct {
		nature restorepoint.Nature
		want   string
	}{
		{restorepoint.NatureVApp, ""},
		{restorepoint.NatureStandalone, "standalone VM"},
		{restorepoint.NatureDiscovered, "discovered"},
	} {
		var listed, shown bytes.Buffer
		drawInventory(&listed, []app.InventoryItem{{VApp: "a", Status: "POWERED_OFF", Nature: tc.nature}, {VApp: "a", VM: "b", Status: "POWERED_OFF", Nature: tc.nature}})
		p := testPoint()
		p.Nature, p.AutoNature = tc.nature, tc.nature != restorepoint.NatureVApp
		drawPoint(&shown, p)
		if tc.want == "" {
			if strings.Contains(listed.String(), "standalone") || strings.Contains(shown.String(), "nature") {
				t.Errorf("%s: %s%s", tc.nature, listed.String(), shown.String())
			}
			continue
		}
		if strings.Count(listed.String(), ", "+tc.want) != 1 || !strings.Contains(shown.String(), tc.want) {
			t.Errorf("%s: listed as\n%s, shown as\n%s", tc.nature, listed.String(), shown.String())
		}
	}
}
