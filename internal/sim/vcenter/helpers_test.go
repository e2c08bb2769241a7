package vcenter_test

import (
	"encoding/pem"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

func pemOf(s *vcenter.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}
