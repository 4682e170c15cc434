"""Studies, and the jobs that belong to one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this schema."""
    op.create_table(
        "study",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "running",
                "succeeded",
                "failed",
                "cancelled",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("dataset_id", sa.String(length=64), nullable=False),
        sa.Column("dataset_name", sa.String(length=64), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("plan", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=True),
        sa.Column("labels", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("device", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("rung", sa.Integer(), nullable=False),
        sa.Column("asked", sa.String(length=16), nullable=True),
        sa.Column("problem", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("request_id", sa.String(length=200), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_study"),
    )
    op.create_index("ix_study_dataset_id_id", "study", ["dataset_id", "id"], unique=False)
    op.create_index("ix_study_dataset_name_id", "study", ["dataset_name", "id"], unique=False)
    op.create_index("ix_study_state_id", "study", ["state", "id"], unique=False)
    # Columns are added in place: a table made anew would take the events of its jobs with it on SQLite.
    op.add_column("job", sa.Column("study_id", sa.String(length=64), nullable=True))
    op.add_column("job", sa.Column("study_place", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("job", sa.Column("held", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("job", sa.Column("manifest", sa.JSON(none_as_null=True), nullable=True))
    op.create_index("ix_job_study_id_id", "job", ["study_id", "id"], unique=False)


def downgrade() -> None:
    """Go back to the one before."""
    op.drop_index("ix_job_study_id_id", table_name="job")
    op.drop_column("job", "manifest")
    op.drop_column("job", "held")
    op.drop_column("job", "study_place")
    op.drop_column("job", "study_id")
    op.drop_index("ix_study_state_id", table_name="study")
    op.drop_index("ix_study_dataset_name_id", table_name="study")
    op.drop_index("ix_study_dataset_id_id", table_name="study")
    op.drop_table("study")
