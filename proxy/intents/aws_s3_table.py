"""S3's operations: level, method and sub-resource -> operation, IAM action and effect. Data only.

A line is `LEVEL METHOD SUBRESOURCE OPERATION ACTION EFFECT [ACTION-WITH-versionId]`; `-` is no sub-resource, `name+x`
asks for the parameter x too. Sources: S3 API Reference; S3 User Guide, "required permissions for S3 API operations".
"""

from dataclasses import dataclass
from typing import Final

from proxy.model.intent import EffectClass


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Operation:
    """One operation. Actions are named without their prefix: it depends on the kind of bucket."""

    name: str
    action: str
    effect: EffectClass
    versioned: str


_LINES: Final = """
service GET - ListBuckets ListAllMyBuckets list
bucket HEAD - HeadBucket ListBucket list
bucket GET - ListObjects ListBucket list
bucket GET list-type ListObjectsV2 ListBucket list
bucket GET versions ListObjectVersions ListBucketVersions list
bucket GET uploads ListMultipartUploads ListBucketMultipartUploads list
bucket PUT - CreateBucket CreateBucket write
bucket DELETE - DeleteBucket DeleteBucket delete
bucket POST delete DeleteObjects DeleteObject delete DeleteObjectVersion
bucket GET acl GetBucketAcl GetBucketAcl read
bucket PUT acl PutBucketAcl PutBucketAcl admin
bucket GET abac GetBucketAbac GetBucketAbac read
bucket PUT abac PutBucketAbac PutBucketAbac admin
bucket GET accelerate GetBucketAccelerateConfiguration GetAccelerateConfiguration read
bucket PUT accelerate PutBucketAccelerateConfiguration PutAccelerateConfiguration write
bucket GET analytics ListBucketAnalyticsConfigurations GetAnalyticsConfiguration read
bucket GET analytics+id GetBucketAnalyticsConfiguration GetAnalyticsConfiguration read
bucket PUT analytics PutBucketAnalyticsConfiguration PutAnalyticsConfiguration write
bucket DELETE analytics DeleteBucketAnalyticsConfiguration PutAnalyticsConfiguration write
bucket GET cors GetBucketCors GetBucketCORS read
bucket PUT cors PutBucketCors PutBucketCORS admin
bucket DELETE cors DeleteBucketCors PutBucketCORS admin
bucket GET encryption GetBucketEncryption GetEncryptionConfiguration read
bucket PUT encryption PutBucketEncryption PutEncryptionConfiguration admin
bucket DELETE encryption DeleteBucketEncryption PutEncryptionConfiguration admin
bucket GET intelligent-tiering ListBucketIntelligentTieringConfigurations GetIntelligentTieringConfiguration read
bucket GET intelligent-tiering+id GetBucketIntelligentTieringConfiguration GetIntelligentTieringConfiguration read
bucket PUT intelligent-tiering PutBucketIntelligentTieringConfiguration PutIntelligentTieringConfiguration write
bucket DELETE intelligent-tiering DeleteBucketIntelligentTieringConfiguration PutIntelligentTieringConfiguration write
bucket GET inventory ListBucketInventoryConfigurations GetInventoryConfiguration read
bucket GET inventory+id GetBucketInventoryConfiguration GetInventoryConfiguration read
bucket PUT inventory PutBucketInventoryConfiguration PutInventoryConfiguration write
bucket DELETE inventory DeleteBucketInventoryConfiguration PutInventoryConfiguration write
bucket GET lifecycle GetBucketLifecycleConfiguration GetLifecycleConfiguration read
bucket PUT lifecycle PutBucketLifecycleConfiguration PutLifecycleConfiguration admin
bucket DELETE lifecycle DeleteBucketLifecycle PutLifecycleConfiguration admin
bucket GET location GetBucketLocation GetBucketLocation read
bucket GET logging GetBucketLogging GetBucketLogging read
bucket PUT logging PutBucketLogging PutBucketLogging admin
bucket GET metadataConfiguration GetBucketMetadataConfiguration GetBucketMetadataTableConfiguration read
bucket POST metadataConfiguration CreateBucketMetadataConfiguration CreateBucketMetadataTableConfiguration write
bucket DELETE metadataConfiguration DeleteBucketMetadataConfiguration DeleteBucketMetadataTableConfiguration delete
bucket GET metadataTable GetBucketMetadataTableConfiguration GetBucketMetadataTableConfiguration read
bucket POST metadataTable CreateBucketMetadataTableConfiguration CreateBucketMetadataTableConfiguration write
bucket DELETE metadataTable DeleteBucketMetadataTableConfiguration DeleteBucketMetadataTableConfiguration delete
bucket PUT metadataAnnotationTable UpdateBucketMetadataAnnotationTableConfiguration \
UpdateBucketMetadataAnnotationTableConfiguration write
bucket PUT metadataInventoryTable UpdateBucketMetadataInventoryTableConfiguration \
UpdateBucketMetadataInventoryTableConfiguration write
bucket PUT metadataJournalTable UpdateBucketMetadataJournalTableConfiguration \
UpdateBucketMetadataJournalTableConfiguration write
bucket GET metrics ListBucketMetricsConfigurations GetMetricsConfiguration read
bucket GET metrics+id GetBucketMetricsConfiguration GetMetricsConfiguration read
bucket PUT metrics PutBucketMetricsConfiguration PutMetricsConfiguration write
bucket DELETE metrics DeleteBucketMetricsConfiguration PutMetricsConfiguration write
bucket GET notification GetBucketNotificationConfiguration GetBucketNotification read
bucket PUT notification PutBucketNotificationConfiguration PutBucketNotification admin
bucket GET object-lock GetObjectLockConfiguration GetBucketObjectLockConfiguration read
bucket PUT object-lock PutObjectLockConfiguration PutBucketObjectLockConfiguration admin
bucket GET ownershipControls GetBucketOwnershipControls GetBucketOwnershipControls read
bucket PUT ownershipControls PutBucketOwnershipControls PutBucketOwnershipControls admin
bucket DELETE ownershipControls DeleteBucketOwnershipControls PutBucketOwnershipControls admin
bucket GET policy GetBucketPolicy GetBucketPolicy read
bucket PUT policy PutBucketPolicy PutBucketPolicy admin
bucket DELETE policy DeleteBucketPolicy DeleteBucketPolicy admin
bucket GET policyStatus GetBucketPolicyStatus GetBucketPolicyStatus read
bucket GET publicAccessBlock GetPublicAccessBlock GetBucketPublicAccessBlock read
bucket PUT publicAccessBlock PutPublicAccessBlock PutBucketPublicAccessBlock admin
bucket DELETE publicAccessBlock DeletePublicAccessBlock PutBucketPublicAccessBlock admin
bucket GET replication GetBucketReplication GetReplicationConfiguration read
bucket PUT replication PutBucketReplication PutReplicationConfiguration admin
bucket DELETE replication DeleteBucketReplication PutReplicationConfiguration admin
bucket GET requestPayment GetBucketRequestPayment GetBucketRequestPayment read
bucket PUT requestPayment PutBucketRequestPayment PutBucketRequestPayment write
bucket GET session CreateSession CreateSession credential
bucket GET tagging GetBucketTagging GetBucketTagging read
bucket PUT tagging PutBucketTagging PutBucketTagging write
bucket DELETE tagging DeleteBucketTagging PutBucketTagging write
bucket GET versioning GetBucketVersioning GetBucketVersioning read
bucket PUT versioning PutBucketVersioning PutBucketVersioning admin
bucket GET website GetBucketWebsite GetBucketWebsite read
bucket PUT website PutBucketWebsite PutBucketWebsite admin
bucket DELETE website DeleteBucketWebsite DeleteBucketWebsite admin
object HEAD - HeadObject GetObject read GetObjectVersion
object GET - GetObject GetObject read GetObjectVersion
object GET uploadId ListParts ListMultipartUploadParts list
object PUT - PutObject PutObject write
object PUT uploadId+partNumber UploadPart PutObject write
object POST uploads CreateMultipartUpload PutObject write
object POST uploadId CompleteMultipartUpload PutObject write
object DELETE uploadId AbortMultipartUpload AbortMultipartUpload delete
object DELETE - DeleteObject DeleteObject delete DeleteObjectVersion
object GET acl GetObjectAcl GetObjectAcl read GetObjectVersionAcl
object PUT acl PutObjectAcl PutObjectAcl admin PutObjectVersionAcl
object GET annotation ListObjectAnnotations ListObjectAnnotations list ListObjectVersionAnnotations
object GET annotation+annotationName GetObjectAnnotation GetObjectAnnotation read GetObjectVersionAnnotation
object PUT annotation PutObjectAnnotation PutObjectAnnotation write PutObjectVersionAnnotation
object DELETE annotation DeleteObjectAnnotation DeleteObjectAnnotation delete DeleteObjectVersionAnnotation
object GET attributes GetObjectAttributes GetObjectAttributes read GetObjectVersionAttributes
object PUT encryption UpdateObjectEncryption UpdateObjectEncryption write
object GET legal-hold GetObjectLegalHold GetObjectLegalHold read
object PUT legal-hold PutObjectLegalHold PutObjectLegalHold admin
object PUT renameObject RenameObject RenameObject write
object POST restore RestoreObject RestoreObject write
object GET retention GetObjectRetention GetObjectRetention read
object PUT retention PutObjectRetention PutObjectRetention admin
object POST select SelectObjectContent GetObject read
object GET tagging GetObjectTagging GetObjectTagging read GetObjectVersionTagging
object PUT tagging PutObjectTagging PutObjectTagging write PutObjectVersionTagging
object DELETE tagging DeleteObjectTagging DeleteObjectTagging delete DeleteObjectVersionTagging
object GET torrent GetObjectTorrent GetObjectTorrent read GetObjectVersionTorrent
"""


def _read(line: str) -> tuple[tuple[str, str, str], S3Operation]:
    level, method, subresource, name, action, effect, *versioned = line.split()
    return (level, method, subresource), S3Operation(
        name=name, action=action, effect=EffectClass(effect), versioned=versioned[0] if versioned else action
    )


OPERATIONS: Final = dict(_read(line) for line in _LINES.strip().split("\n"))
SUBRESOURCES: Final = frozenset(part for _, _, sub in OPERATIONS for part in sub.split("+")[:1]) - {"-"}
"""Query keys that make another operation of a request."""
PARAMETERS: Final = frozenset(
    {"annotation-prefix", "annotationName", "bucket-region", "continuation-token", "delimiter", "encoding-type"}
    | {"fetch-owner", "id", "key-marker", "marker", "max-annotation-results", "max-buckets", "max-directory-buckets"}
    | {"max-keys", "max-parts", "max-uploads", "part-number-marker", "partNumber", "prefix", "select-type"}
    | {"response-cache-control", "response-content-disposition", "response-content-encoding", "start-after"}
    | {"response-content-language", "response-content-type", "response-expires", "upload-id-marker"}
    | {"version-id-marker", "versionId"}
    # Signatures of version 2 and 4, and the operation's name that SDKs add.
    | {"AWSAccessKeyId", "Signature", "Expires", "x-id"}
)
"""Query keys that only say more of the same operation. S3 ignores those that begin with `x-`, and logs them."""
