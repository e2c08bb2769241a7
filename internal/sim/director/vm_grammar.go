package director

// vmGrammar are the bodies of calls for single VMs, disks and affinity rules.
var vmGrammar = map[string]string{
	"CreateVmParams": "VCloudExtension*=any Description?=s CreateVm=Vm Media?=any",
	"InstantiateVmTemplateParams": "VCloudExtension*=any Description?=s SourcedVmTemplateItem?=SourcedVmTemplateParams AllEULAsAccepted?=b " +
		"ComputePolicy^=ComputePolicy",
	"SourcedVmTemplateParams": "VCloudExtension*=any Source=Reference VmGeneralParams?=VmGeneralParams " +
		"VmTemplateInstantiationParams?=InstantiationParams StorageProfile?=Reference LocalityParams?=any VmCapabilities?=VmCapabilities",
	"RelocateParams": "Datastore=Reference",

	"MediaSection":          "VCloudExtension*=any MediaSettings*=MediaSettings",
	"MediaSettings":         "VCloudExtension*=any DeviceId?=s MediaImage?=any MediaType?=s MediaState?=s UnitNumber=i BusNumber=i AdapterType?=s",
	"CurrentUsageSpec":      "MetricPattern*=s",
	"HistoricUsageSpec":     "AbsoluteStartTime|RelativeStartTime?=any AbsoluteEndTime|RelativeEndTime?=any MetricPattern*=s",
	"VmCheckPGCType":        "... CheckPostGCStatus?=b",
	"VmQuestionAnswer":      "ChoiceId=i QuestionId=s",
	"RasdItemsList":         "VCloudExtension*=any Link*=any o:Item*=any Item*=any",
	"ComputePolicy":         "VCloudExtension*=any Link*=any VmPlacementPolicy?=any VmPlacementPolicyFinal?=b VmSizingPolicy?=any VmSizingPolicyFinal?=b",
	"TrustedPlatformModule": "VCloudExtension*=any Link*=any TpmPresent^=b",

	"MediaInsertOrEjectParams": "VCloudExtension*=any Media?=Reference",

	"Disk":                     "@name VCloudExtension*=any Link*=any Description?=s Tasks?=any Files?=any StorageProfile?=Reference Owner?=any",
	"DiskCreateParams":         "VCloudExtension*=any Disk=Disk Locality?=Reference",
	"DiskAttachOrDetachParams": "VCloudExtension*=any Disk=Reference BusNumber?=i UnitNumber?=i",

	"VmAffinityRule": "VCloudExtension*=any Link*=any Name?=s IsEnabled?=b IsMandatory?=b Polarity?=s Scope?=s VmReferences=VmReferences",
	"VmReferences":   "VCloudExtension*=any Link*=any VmReference*=Reference",
}
